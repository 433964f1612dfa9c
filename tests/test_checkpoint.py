"""Resuming: a training that was killed goes on where it was, and ends with the bytes it would have ended with."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from stages import extract, pretrain, split
from stages.base import resume
from stages.compute.networks import build_head
from stages.compute.optimizers import OptimizerConfig
from stages.training import checkpoint
from stages.training.checkpoint import Checkpoint, checkpoint_folder
from stages.training.dataloader import ArrayData
from stages.training.train import TrainingConfig, fit
from tests.conftest import PROJECT
from tests.helpers.copies import run, set_params
from tests.helpers.small import prepared_project

CHANGES: dict[str, object] = {
    "head": {"hidden": [8], "dropout": 0.4, "batchnorm": True, "epochs": 40},
    "thawed": {
        "epochs": 40,
        "layer_decay": 0.5,
        "gradual": [{"epoch": 1, "freeze": "all"}, {"epoch": 3, "freeze": -2}],
    },
    "optimizer": {"name": "adamw", "weight_decay": 0.01, "clip_norm": 1.0},
    "early_stopping": 0,
}


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stages.finetune"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def killed(folder: Path, phase: str) -> str:
    """Run finetune until a state of ``phase`` is there, and kill it; return what it said."""
    process, state = start(folder), folder / "data" / ".resume-finetune" / f"{phase}.npz"
    old = state.stat().st_mtime_ns if state.exists() else 0
    while process.poll() is None and not (state.exists() and state.stat().st_mtime_ns != old):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, output
    return output


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "data" / "finetune").iterdir())}


@pytest.mark.slow
def test_killed_in_either_phase_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    folder = prepared_project(tmp_path, split, pretrain, extract)
    set_params(folder, {"finetune": CHANGES})
    killed(folder, "head")
    assert not (folder / "data" / "finetune").exists()
    said = killed(folder, "thawed")
    assert re.search(r"resuming at epoch \d+ of 40 \(head\)\n", said), said
    output, _ = start(folder).communicate()
    assert re.search(r"resuming at epoch \d+ of 40 \(thawed\)\n", output), output
    assert "(head)" not in output
    resumed = written(folder)
    assert sorted(path.name for path in (folder / "data").iterdir() if path.name.startswith(".")) == []
    shutil.rmtree(folder / "data" / "finetune")
    output, _ = start(folder).communicate()  # from the start
    assert "resuming" not in output
    assert written(folder) == resumed
    assert len(pd.read_csv(folder / "data" / "finetune" / "history.csv")) == 80


def noise(rows: int = 20, seed: int = 0) -> ArrayData:
    draw = np.random.default_rng(seed)
    return ArrayData(draw.normal(size=(rows, 5)).astype(np.float32), draw.integers(0, 3, rows), 3)


class Interrupted(ArrayData):
    """Data with which training is interrupted in an epoch."""

    stop = 10**9

    def batch(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        if epoch == self.stop:
            raise InterruptedError
        return super().batch(rows, epoch)


def trained(config: TrainingConfig, folder: Path | None, stops: list[int]) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Train a head, as in so many new processes, interrupted in the epochs ``stops``."""
    for stop in [*stops, 10**9]:
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        model = build_head(5, hidden=[8, 4], dropout=0.5, classes=3, batchnorm=True)
        last = model.get_layer("classifier")

        def turn(trainable: bool, layer: keras.Layer = last) -> Callable[[], None]:
            return lambda: setattr(layer, "trainable", trainable)

        data = Interrupted(noise().batch(np.arange(20), 0)[0], noise().labels, 3)
        data.stop = stop
        try:
            thawing = {0: turn(False), 3: turn(True)}
            history = fit(model, "head", data, noise(seed=1), config, resume=folder, before_epoch=thawing)
        except InterruptedError:
            continue
        return history, [value.numpy() for value in model.variables]
    raise AssertionError


@pytest.mark.parametrize(
    ("config", "stops"),
    [
        pytest.param(TrainingConfig(7, 0.01, 8, 1, checkpoint="best", plateau_patience=1), [1, 3, -1], id="plateau"),
        pytest.param(
            TrainingConfig(
                7,
                0.01,
                8,
                1,
                optimizer=OptimizerConfig("sgd"),
                schedule="cosine",
                warmup=2,
                label_smoothing=0.1,
                balanced=True,
            ),
            [3],
            id="cosine",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            TrainingConfig(
                50,
                0.05,
                8,
                1,
                checkpoint="best",
                early_stopping=2,
                optimizer=OptimizerConfig("adamw", weight_decay=0.1),
            ),
            [-1],
            id="early stopping",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_interrupted_in_any_epoch_it_is_the_same_training(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    config: TrainingConfig,
    stops: list[int],
) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "SHARE", 0)
    history, variables = trained(config, None, [])
    lines = [line for line in capsys.readouterr().out.splitlines() if ", epoch " in line]
    resumed, same = trained(config, tmp_path, [stop % len(history) for stop in stops])
    pd.testing.assert_frame_equal(resumed, history, check_exact=True)
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if ", epoch " in line] == lines, "an epoch is said twice, or not"
    assert re.findall(
        r"resuming at epoch (\d+) of \d+ \(head\)\n  head, epoch +(\d+)/", re.sub(r"  head: other.*\n", "", said)
    ) == [(str(stop % len(history) + 1),) * 2 for stop in stops]
    for ours, theirs in zip(same, variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    finished, again = trained(config, tmp_path, [])  # interrupted after the phase: nothing is trained
    pd.testing.assert_frame_equal(finished, history, check_exact=True)
    for ours, theirs in zip(again, variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_every_variable_is_in_the_state(tmp_path: Path) -> None:
    model = build_head(5, hidden=[8], dropout=0.5, classes=3, batchnorm=True)
    fit(model, "head", noise(), None, TrainingConfig(2, 0.01, 8, 1), resume=tmp_path)
    progress, arrays = Checkpoint(tmp_path, "head").read() or ({}, {})
    assert progress["epoch"] == 2
    # Dense, BatchNormalization, the seed of Dropout, Dense
    assert [array.shape for array in arrays["model"]] == [(5, 8), (8,), (8,), (8,), (8,), (8,), (2,), (8, 3), (3,)]
    assert [array.shape for array in arrays["optimizer"][:2]] == [(), ()]  # steps, learning rate
    assert len(arrays["optimizer"]) == 2 + 2 * 6


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the state of a run that was interrupted, the input that it read, and its code."""
    monkeypatch.chdir(tmp_path)
    for name in ("input/file", "stages/code.py"):
        Path(name).parent.mkdir()
        Path(name).write_text("abc")
    monkeypatch.setattr(resume, "STAGES", tmp_path / "stages")
    with suppress(InterruptedError), checkpoint_folder(Path("data/states"), {"seed": 1}, [Path("input")]) as folder:
        Checkpoint(folder, "head").write({"epoch": 3}, {"model": [np.arange(3)]})
        raise InterruptedError
    return tmp_path


def goes_on(params: dict[str, object]) -> bool:
    with checkpoint_folder(Path("data/states"), params, [Path("input")]) as folder:
        return folder is not None and Checkpoint(folder, "head").read() is not None


def test_the_same_run_goes_on_and_leaves_nothing(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.utime("input/file", ns=(1, 1))  # as `dvc checkout` would
    with checkpoint_folder(Path("data/states"), {"seed": 1}, [Path("input")]) as folder:
        stored = Checkpoint(folder, "head").read()
        assert stored is not None
        assert stored[0] == {"epoch": 3}
        np.testing.assert_array_equal(stored[1]["model"][0], np.arange(3))
    assert not Path("data/states").exists()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("changed", ["params", "code", "input", "library"])
def test_another_run_starts_anew(
    begun: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changed: str
) -> None:
    if changed in ("code", "input"):
        Path({"code": "stages/code.py", "input": "input/file"}[changed]).write_text("cba")
    elif changed == "library":
        monkeypatch.setattr(keras, "__version__", "4.0")
    assert not goes_on({"seed": 2 if changed == "params" else 1})
    assert "starting over: params, code, inputs or libraries differ" in capsys.readouterr().out


def test_half_a_state_is_none(begun: Path) -> None:
    file = Path("data/states/head.npz")
    file.write_bytes(file.read_bytes()[:-30])
    assert not goes_on({"seed": 1})


@pytest.mark.parametrize("damage", ["no UTF-8", "nested", "a folder", "a file", "a link to nowhere"])
def test_damaged_states_are_thrown_away(begun: Path, damage: str) -> None:
    folder, record = Path("data/states"), Path("data/states/run.json")
    if damage in ("a file", "a link to nowhere"):
        shutil.rmtree(folder)
        folder.write_text("not a folder") if damage == "a file" else folder.symlink_to("nowhere")
    elif damage == "a folder":
        record.unlink()
        record.mkdir()
    else:
        record.write_bytes(b"\xff\xfe" if damage == "no UTF-8" else b"[" * 100_000)
    assert not goes_on({"seed": 1})
    assert not Path("data/states").exists()


def test_where_no_state_can_be_written_the_training_goes_on(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("data")
    Path("data").write_text("not a folder")
    with checkpoint_folder(Path("data/states"), {"seed": 1}, [Path("input")]) as folder:
        assert folder is None
    assert "cannot write checkpoints to data/states (Not a directory): an interrupted run would start over" in (
        capsys.readouterr().out
    )


def test_states_are_written_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 11.0, 30.9, 31.1])
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: next(clock))
    states = Checkpoint(tmp_path, "head")
    assert states.due  # at 0 s
    states.write({}, {})  # from 10 s to 11 s
    assert not states.due  # at 30.9 s
    assert states.due  # at 31.1 s


def test_states_stay_out_of_git() -> None:
    assert run("git", "check-ignore", "data/.resume-finetune/head.npz", cwd=PROJECT)


def test_a_full_disk_costs_the_state_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    states = Checkpoint(tmp_path, "head")
    states.write({"epoch": 1}, {"model": [np.zeros(3)]})
    monkeypatch.setattr(np, "savez", full)
    for _ in range(2):
        states.write({"epoch": 2}, {"model": [np.ones(3)]})
    assert capsys.readouterr().out.count("No space left on device") == 1
    progress, _ = states.read() or ({}, {})
    assert progress == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["head.npz"]
