"""Other devices and backends: two devices, or JAX, give what one device and TensorFlow give."""

import json
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from stages import pretrain, split
from stages.backbones.registry import BACKBONES
from stages.base.errors import UserError
from stages.compute.backend import choose_backend, ensure_backend
from tests.conftest import PROJECT
from tests.helpers.copies import run, set_params
from tests.helpers.published import vary, write_published
from tests.helpers.small import FEW, small_project

# A backbone without dropout, which every device and backend draws for itself.
NETWORK = {"source": "data/own/weights.h5", "backbone": "mobilenet_v2_035", "image_size": 32}
CHOICES = {  # all that a part of a batch could get wrong; what is frozen runs in the framework
    "extract": {"freeze": "block_15", "views": 2},
    "finetune": {
        "head": {"hidden": [6], "dropout": 0.0, "epochs": 3},
        "thawed": {"epochs": 2},
        "batch_size": 5,  # neither a multiple of two devices nor a divisor of the images
        "optimizer": {"name": "adamw", "weight_decay": 0.05, "clip_norm": 0.5},
        "loss": {"class_weights": "balanced", "label_smoothing": 0.1},
    },
}
STAGES = ("extract", "extract_test", "finetune", "evaluate")
FEATURES = ("train_features", "train_block_14_add", "val_features")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project whose split and pretrain have run."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        here = small_project(tmp_path_factory.mktemp("backends"), monkeypatch, {"pretrain": NETWORK})
        keras.utils.set_random_seed(1)
        backbone = BACKBONES["mobilenet_v2_035"].build(32).model
        vary(backbone)
        write_published(backbone.layers, here / "data/own/weights.h5")
        split.main()
        pretrain.main()
    return here


def results(
    prepared: Path,
    here: Path,
    stages: tuple[str, ...],
    devices: int,
    backend: str,
    changes: dict[str, object] | None = None,
) -> Path:
    """Run stages, each in a process of its own as DVC does, in a copy of the project."""
    shutil.copytree(prepared, here)
    set_params(here, {**CHOICES, "compute": {"frozen": "keras", "devices": devices, "backend": backend}})
    set_params(here, changes or {})
    for stage in stages:
        path = os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])
        run("python", "-m", f"stages.{stage}", cwd=here, PYTHONPATH=path)
    return here


@pytest.fixture(scope="module")
def one(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one device and TensorFlow give."""
    here = tmp_path_factory.mktemp("one") / "project"
    return results(prepared, here, STAGES, 1, "tensorflow")


def compare(here: Path, there: Path, tolerance: float) -> None:
    for name in FEATURES:
        ours, theirs = (np.load(folder / f"data/extract/{name}.npy") for folder in (here, there))
        np.testing.assert_allclose(ours, theirs, atol=tolerance)
    ours, theirs = (pd.read_csv(folder / "data/finetune/history.csv") for folder in (here, there))
    assert len(ours) == 5
    pd.testing.assert_frame_equal(ours, theirs, atol=10 * tolerance)
    ours, theirs = (
        np.stack(pq.read_table(folder / "data/evaluate/predictions.parquet")["finetuned_probabilities"].to_numpy())
        for folder in (here, there)
    )
    np.testing.assert_allclose(ours, theirs, atol=10 * tolerance)


@pytest.mark.slow
def test_two_devices_give_what_one_gives(prepared: Path, one: Path, tmp_path: Path) -> None:
    two = results(prepared, tmp_path / "project", STAGES, 2, "tensorflow")
    compare(two, one, 1e-5)


@pytest.mark.jax
@pytest.mark.slow
def test_jax_keeps_what_tensorflow_keeps_and_two_devices_give_what_one_gives(
    prepared: Path, one: Path, tmp_path: Path
) -> None:
    alone, two = (results(prepared, tmp_path / f"{count}", STAGES, count, "jax") for count in (1, 2))
    compare(two, alone, 1e-5)
    for name in FEATURES:  # the weights of a new head are drawn by the backend: trainings differ
        ours, theirs = (np.load(folder / f"data/extract/{name}.npy") for folder in (alone, one))
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.jax
@pytest.mark.slow
def test_a_logistic_head_has_the_same_bytes_with_jax(prepared: Path, tmp_path: Path) -> None:
    own = shutil.copytree(prepared, tmp_path / "own")
    set_params(own, {"pretrain": {**FEW["pretrain"], "backbone": "mnist_cnn"}})
    changes: dict[str, object] = {
        "extract": {"freeze": "all"},
        "finetune": {
            "head": {"solver": "logistic", "hidden": []},
            "loss": {"class_weights": "balanced", "label_smoothing": 0.0},
        },
        "compute": {"frozen": "onnxruntime"},
    }
    here = results(own, tmp_path / "tensorflow", ("pretrain", "extract", "finetune"), 1, "tensorflow", changes)
    there = results(here, tmp_path / "jax", ("finetune",), 1, "jax", changes)
    for name in ("head.weights.h5", "head.onnx"):
        assert (here / "data/finetune" / name).read_bytes() == (there / "data/finetune" / name).read_bytes()


@pytest.mark.slow
def test_onnx_runtime_keeps_what_the_framework_keeps(prepared: Path, one: Path, tmp_path: Path) -> None:
    here = results(
        prepared, tmp_path / "project", ("extract",), 1, "tensorflow", {"compute": {"frozen": "onnxruntime"}}
    )
    for name in FEATURES:
        ours, theirs = (np.load(folder / f"data/extract/{name}.npy") for folder in (here, one))
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.jax
@pytest.mark.slow
def test_every_stage_runs_with_jax(prepared: Path, tmp_path: Path) -> None:
    stages = ("split", "pretrain", *STAGES, "report", "export")
    own = shutil.copytree(prepared, tmp_path / "own")
    set_params(own, {"pretrain": {**FEW["pretrain"], "backbone": "mnist_cnn", "epochs": 4}})
    here = results(own, tmp_path / "project", stages, 1, "jax", {"extract": {"freeze": -2}})
    assert json.loads((here / "data/evaluate/metrics.json").read_text())["test"]["accuracy"] > 0.7
    assert (here / "data/export/model.onnx").exists()
    parity = json.loads((here / "data/export/parity.json").read_text())
    assert parity["formats"]["onnx"]["largest_difference"] < 1e-3
    assert (here / "data/report/report.html").exists()


@pytest.mark.slow
def test_bfloat16_is_close(prepared: Path, one: Path, tmp_path: Path) -> None:
    changes: dict[str, object] = {"compute": {"precision": "bfloat16"}}
    here = results(prepared, tmp_path / "project", ("extract",), 1, "tensorflow", changes)
    ours, theirs = (np.load(folder / "data/extract/train_features.npy") for folder in (here, one))
    assert ours.dtype == np.float32
    assert 0 < np.abs(ours - theirs).max() < 0.05 * np.abs(theirs).max()


@pytest.mark.parametrize("stage", ["pretrain", "extract", "extract_test", "finetune", "evaluate"])
def test_a_variable_that_names_another_backend_is_refused(prepared: Path, tmp_path: Path, stage: str) -> None:
    here = shutil.copytree(prepared, tmp_path / "project")
    said = run("python", "-m", f"stages.{stage}", cwd=here, fails=True, KERAS_BACKEND="jax", PYTHONPATH=str(PROJECT))
    assert said == (
        f"{stage}: compute.backend is tensorflow, but the environment variable KERAS_BACKEND says jax. Unset it, or "
        "set compute.backend: jax.\n"
    )


def test_a_backend_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.setattr("stages.compute.backend.find_spec", lambda name: None)
    choose_backend("jax")
    with pytest.raises(UserError, match=r"jax is not installed. Run `pip install -e '\.\[jax\]'`"):
        ensure_backend()


OTHER_CONFIG = '{"backend": "jax", "floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first"}'


@pytest.mark.parametrize("content", [OTHER_CONFIG, "no JSON"])
def test_files_and_variables_outside_the_project_change_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text(content)
    code = (
        "import stages.compute.runtime, keras.config as c, gc, sklearn.metrics; print(c.backend(), c.floatx(), "
        "c.epsilon(), c.image_data_format(), c.dtype_policy().name, c.is_nnx_enabled(), gc.isenabled())"
    )
    own = {"KERAS_HOME": str(tmp_path / ".keras"), "HOME": str(tmp_path), "KERAS_NNX_ENABLED": "true"}
    said = run("python", "-c", code, cwd=PROJECT, **own, KERAS_MAX_EPOCHS="many", JAX_ENABLE_X64="1")
    assert said.splitlines()[-1] == "tensorflow float32 1e-07 channels_last float32 False True"
