"""docs/gpu_machine.sh: a machine that vanishes loses neither finished stages nor checkpoints."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import PROJECT
from tests.helpers.copies import clone, commit, ran, run, set_params
from tests.helpers.quick_pipeline import quick_pipeline

SCRIPT = ("bash", "docs/gpu_machine.sh", "--no-install", "--every", "1")


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A bare repository with a branch whose params have not been run; the results of main are on a remote."""
    work = quick_pipeline(tmp_path / "work", tmp_path / "storage")
    (work / "docs").mkdir()
    shutil.copy(PROJECT / "docs" / "gpu_machine.sh", work / "docs")
    set_params(work, {"finetune": {"seed": 7}, "extract": {"freeze": "all"}})
    commit(work, "Another experiment")
    run("git", "clone", "-q", "--bare", str(work), str(tmp_path / "hub.git"), cwd=tmp_path)
    return tmp_path / "hub.git"


@pytest.mark.slow
def test_a_machine_that_vanishes_in_the_middle(hub: Path) -> None:
    first = clone(hub, hub.parent / "first")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    machine = subprocess.Popen(
        SCRIPT, cwd=first, env={**environment, "QUICK_EPOCHS": "5"}, start_new_session=True, stdout=subprocess.DEVNULL
    )
    interrupted = hub.parent / "storage" / "interrupted"
    while not list(interrupted.glob("*.tar")) or b"head.npz" not in next(interrupted.glob("*.tar")).read_bytes():
        assert machine.poll() is None
        time.sleep(0.1)
    os.killpg(machine.pid, signal.SIGKILL)
    machine.wait()
    shutil.rmtree(first)

    second = clone(hub, hub.parent / "second")
    said = run(*SCRIPT, "--commit", "Run it", cwd=second, QUICK_EPOCHS="6", QUICK_END="yes")
    assert ran(said)[-2:] == ["finetune", "evaluate"]  # extract runs again if it was killed before its copy was made
    assert "going on where a run of this experiment was interrupted" in said
    assert "resuming at epoch 6" in said or "resuming at epoch 5" in said
    assert list(interrupted.iterdir()) == []
    assert run("git", "status", "--porcelain", cwd=second) == ""

    mine = clone(hub, hub.parent / "mine")
    run("dvc", "pull", "-q", cwd=mine)
    assert ran(run("dvc", "repro", cwd=mine)) == [], "the results and their dvc.lock were not handed on"
    said = run(*SCRIPT, cwd=mine)
    assert ran(said) == [], "a second run is safe"


@pytest.mark.slow
def test_what_it_cannot_do_is_said_at_once(hub: Path) -> None:
    here = clone(hub, hub.parent / "here")
    run("dvc", "remote", "remove", "storage", cwd=here)
    assert "there is no DVC remote, so results would be lost" in run(*SCRIPT, cwd=here, fails=True)
    assert "unknown option --kep" in run(*SCRIPT, "--kep", cwd=here, fails=True)
    assert "expected a value after --remote" in run(*SCRIPT, "--remote", cwd=here, fails=True)
    said = run(*SCRIPT, "--remote", str(hub.parent / "drive"), "extract", cwd=here)
    assert ran(said) == ["extract"]
    assert "In your own clone of this commit: dvc repro --pull" in said
    assert (hub.parent / "drive" / "files").is_dir()
    assert run("git", "diff", "--name-only", "HEAD", "--", ".dvc", cwd=here) == ".dvc/config\n", "other clones keep it"


@pytest.mark.slow
def test_the_notebook_runs_the_script(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = tmp_path / "modules" / "google" / "colab" / "drive.py"
    stub.parent.mkdir(parents=True)
    stub.write_text("def mount(folder):\n    pass\n\n\ndef flush_and_unmount():\n    print('all is on Drive')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(PROJECT / "docs" / "colab.ipynb", as_version=4)
    cells = {cell.id: cell for cell in notebook.cells}
    settings = {
        "REPOSITORY": str(hub),
        "BRANCH": "main",
        "REMOTE": str(tmp_path / "drive"),
        "OPTIONS": "--no-install --every 1 --commit 'Run on Colab'",
        "FOLDER": str(tmp_path / "content"),
    }
    assert re.findall(r"^(\w+) =", cells["settings"].source, re.M) == list(settings)
    cells["settings"].source = "\n".join(f"{name} = {value!r}" for name, value in settings.items())
    NotebookClient(notebook, timeout=300).execute()
    said = {name: "".join(output.get("text", "") for output in cell.get("outputs", [])) for name, cell in cells.items()}
    assert ran(said["run"]) == ["extract", "finetune", "evaluate"], said
    assert "test.accuracy" in said["run"]
    assert said["end"] == "all is on Drive\n"
    assert run("git", "log", "-1", "--format=%s", cwd=hub) == "Run on Colab\n"
