"""sweep: one pass for all depths, an experiment each, a table and a picture, and the workspace as it was."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from stages.base.params import read_yaml
from stages.tools import sweep
from tests.conftest import PROJECT, Refusal
from tests.helpers.copies import ran, run, set_params
from tests.helpers.quick import quick_project


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of stages that do next to nothing, with edits that are not committed."""
    quick_project(tmp_path)
    set_params(tmp_path, {"finetune": {"seed": 7}})
    (tmp_path / "notes.txt").write_text("not known to git")
    (tmp_path / "new.py").write_text("# staged\n")
    run("git", "add", "new.py", cwd=tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THAW_TEST_SWEEP", str(os.getpid()))
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *depths: str) -> None:
    monkeypatch.setattr("sys.argv", ["sweep", *depths])
    sweep.main()


def state(folder: Path) -> dict[str, Any]:
    """Return what a user would miss: git's view, and every file but the sweep's own."""
    files = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    skipped = {".git", ".dvc", "sweep", ".partial-sweep.lock"}
    hidden = {path: content for path, content in files.items() if not skipped & set(path.parts)}
    git = [run("git", *command.split(), cwd=folder) for command in ("status --porcelain", "diff --cached", "branch")]
    return {"git": git, **hidden}


def experiments(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what `dvc exp show` has of each experiment, by its name."""
    shown = json.loads(run("dvc", "exp", "show", "--json", cwd=folder))
    found = [one["revs"][0] for commit in shown for one in commit.get("experiments") or []]
    return {one["name"]: one["data"] for one in found}


def test_each_depth_is_an_experiment_and_the_workspace_stays(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run("dvc", "repro", cwd=here)
    before = state(here)
    call(monkeypatch, "none", "-2")
    said = capfd.readouterr().out
    assert state(here) == before
    assert ran(said) == ["extract", "extract_test", *["finetune", "evaluate"] * 2]
    assert [said.count(line) for line in ("86% right", "90% right", "images were in that")] == [1, 1, 1]
    results = pd.read_csv("data/sweep/sweep.csv")
    assert list(results["freeze"]) == ["-2", "none"], "the most frozen comes first"
    assert list(results["frozen"]) == [4, 0]
    assert list(results["parameters"]) == [200, 600]
    assert list(results["accuracy"]) == pytest.approx([0.86, 0.9])
    assert (results["seconds"] > 0).all()
    assert (results["shared_seconds"] > 0).all()
    *_, last, total = said.splitlines()
    assert last.startswith("none ")
    assert "600    90.0 %   80.0 to 95.0  +90.0 (+80.0 to +95.0)" in last
    assert " s for the frozen passes, shared by all; " in total
    with Image.open("data/sweep/sweep.png") as image:
        assert image.width > 500
    saved = experiments(here)
    assert set(saved) == {"sweep--2", "sweep-none"}
    for name, freeze, accuracy in (("sweep--2", -2, 0.86), ("sweep-none", "none", 0.9)):
        params = saved[name]["params"]["params.yaml"]["data"]
        assert (params["finetune"]["thawed"]["freeze"], params["finetune"]["seed"]) == (freeze, 7)
        assert params["extract"]["depths"] == [-2, "none"]
        metrics = saved[name]["metrics"]["data/evaluate/metrics.json"]["data"]
        assert metrics["test"]["accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [("fails", 1, "it cannot be"), pytest.param("interrupted", 130, "interrupted", marks=pytest.mark.slow)],
)
def test_what_ends_early_leaves_the_workspace_as_it_was(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], end: str, code: int, said: str
) -> None:
    monkeypatch.setenv("THAW_TEST_END", end)
    before = state(here)  # nothing has run yet: there is no dvc.lock
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, "none", "all")
    assert stopped.value.code == code
    assert said in capfd.readouterr().err
    assert state(here) == before
    assert not Path("data/sweep").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert set(experiments(here)) == {"sweep-all"}


@pytest.fixture
def killed(here: Path) -> Path:
    """The project after a sweep was killed while the second depth trained."""
    run("dvc", "repro", cwd=here)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "THAW_TEST_END": "waits"}
    sweep = subprocess.Popen(
        (sys.executable, "-P", "-m", "stages", "sweep", "all", "none"),
        cwd=here,
        env=environment,
        start_new_session=True,
    )
    while not (here / "waiting").exists():
        assert sweep.poll() is None
        time.sleep(0.1)
    sweep.kill()
    sweep.wait()
    while (here / "waiting").exists():
        time.sleep(0.1)
    return here


def test_after_a_kill_the_next_sweep_starts_from_what_was_there(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    run("dvc", "repro", cwd=here)
    before = state(here)
    request.getfixturevalue("killed")
    assert read_yaml(here / "params.yaml")["extract"]["depths"] == ["all", "none"]
    call(monkeypatch)
    assert "restored the workspace of a sweep that was killed" in capsys.readouterr().out
    assert state(here) == before


@pytest.mark.slow
def test_a_dvc_lock_that_the_kill_emptied_comes_back(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (killed / "dvc.lock").write_text("")
    call(monkeypatch)
    assert ran(run("dvc", "repro", cwd=killed)) == []


@pytest.mark.slow
def test_what_was_edited_after_a_kill_is_not_overwritten(
    killed: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal
) -> None:
    set_params(killed, {"finetune": {"seed": 8}})
    edited = state(killed)
    said = refused(call, monkeypatch, "all", "none")
    assert "an earlier run was killed, and params.yaml or the commit changed since" in said
    assert state(killed) == edited
    run("sh", "-c", said.partition("that run: ")[2], cwd=killed)
    call(monkeypatch)
    assert read_yaml(killed / "params.yaml")["finetune"]["seed"] == 7


@pytest.mark.slow
def test_outputs_that_the_cache_does_not_hold_are_not_replaced(
    here: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal
) -> None:
    run("dvc", "repro", "--no-commit", cwd=here)
    before = state(here)
    said = refused(call, monkeypatch, "all", "none")
    assert said.startswith("sweep: data/evaluate/scores.json, data/extract/, data/extract_test/, data/finetune/: expec")
    assert "Run `dvc commit` to keep them" in said
    assert state(here) == before
    run("dvc", "commit", "-f", cwd=here)
    call(monkeypatch, "all", "none")
    assert state(here) == {**before, "git": state(here)["git"], here / "dvc.lock": (here / "dvc.lock").read_bytes()}


@pytest.mark.parametrize(
    ("depths", "changes", "said"),
    [
        (["all"], {}, "expected two or more depths, such as: all none; received 1. `python -m stages layers` shows"),
        (["all", "dens"], {}, "depth: expected 'all', 'none', a count, or a layer or block of the backbone (blocks: c"),
        (["all", "-7"], {}, "depth: expected a count from -6 to 6, because the backbone has 6 layers; received -7."),
        (["all", "none", "6"], {}, "depth: all and 6 freeze the same 6 layers. Leave one of them out."),
        (["-2", "-2"], {}, "depth: -2 and -2 freeze the same 4 layers."),
        (
            ["all", "none"],
            {"finetune": {"thawed": {"epochs": 0}}},
            "finetune.thawed.epochs: expected 1 or more; with 0",
        ),
        (
            ["all", "none"],
            {"finetune": {"thawed": {"gradual": [{"epoch": 1, "freeze": -2}]}}},
            "finetune.thawed.gradual: expected at least the 6 layers frozen",
        ),
        (["all", "none"], {"extract": {"views": 0}}, "extract.views: expected a count of 1 or more"),
        (["all", "none"], {}, "experiments are stored in git, and this is not a git repository. Make it one: git init"),
    ],
)
def test_what_cannot_be_compared_is_said_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Refusal,
    depths: list[str],
    changes: dict[str, object],
    said: str,
) -> None:
    shutil.copy(PROJECT / "recipes" / "default.yaml", tmp_path / "params.yaml")
    set_params(tmp_path, changes)
    monkeypatch.chdir(tmp_path)
    assert refused(call, monkeypatch, *depths).startswith(("sweep: " + said, "sweep: params.yaml: " + said))
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_before_the_first_commit_there_is_nothing_to_hang_experiments_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal
) -> None:
    shutil.copy(PROJECT / "recipes" / "default.yaml", tmp_path / "params.yaml")
    run("git", "init", "-q", cwd=tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "experiments belong to a commit, and there is none. Make one: git add" in refused(
        call, monkeypatch, "all", "none"
    )


def finetune(folder: Path) -> list[Path]:
    """Return the files that finetune wrote."""
    return sorted((folder / "data" / "finetune").iterdir())


@pytest.mark.slow
def test_a_depth_of_the_sweep_is_what_it_is_alone(finished: Path, tmp_path: Path) -> None:
    here, alone = tmp_path / "project", tmp_path / "alone"
    shutil.copytree(finished, here, symlinks=True)
    shutil.copytree(finished, alone, symlinks=True)
    depths: list[int | str] = ["all", -1]
    before = state(here)
    said = run("python", "-m", "stages", "sweep", *map(str, depths), cwd=here)
    assert [stage for stage in ran(said) if stage != "evaluate"] == ["extract", "extract_test", *["finetune"] * 2]
    assert state(here) == before
    results = pd.read_csv(here / "data" / "sweep" / "sweep.csv").set_index("freeze")
    saved = experiments(here)
    assert set(saved) == {f"sweep-{freeze}" for freeze in depths}
    said = run("python", "-m", "stages", "sweep", "-1", "all", cwd=here)
    assert ran(said) == [], "what the cache holds was run again"
    assert [line.split()[-1] for line in said.splitlines()[-3:-1]] == ["cached"] * 2
    assert set(experiments(here)) == set(saved), "the same names are the same experiments"
    assert state(here) == before
    assert results["seconds"].notna().all()
    for freeze in ("all", -1):
        set_params(alone, {"extract": {"freeze": freeze}})
        run("dvc", "repro", "evaluate", cwd=alone)
        run("dvc", "exp", "apply", f"sweep-{freeze}", cwd=here)
        scores = json.loads((alone / "data" / "evaluate" / "scores.json").read_text())
        assert results.loc[str(freeze), "accuracy"] == scores["finetuned"]["accuracy"]
        if freeze == "all":  # one model, which gains nothing over itself
            assert "gain" not in scores
            assert pd.isna(results.loc[str(freeze), "gain_low"])
        else:
            assert results.loc[str(freeze), "gain_low"] == scores["gain"]["accuracy_low"]
        written, others = ({file.name: file.read_bytes() for file in finetune(folder)} for folder in (here, alone))
        assert written.keys() == others.keys()
        assert [name for name in written if written[name] != others[name]] == [], freeze
    assert ran(run("dvc", "repro", cwd=here)) == ["report", "export"], "only what the sweep leaves out is left to run"
    assert read_yaml(here / "params.yaml")["finetune"]["thawed"]["freeze"] == -1
