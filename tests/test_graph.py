"""The whole graph in a git and DVC repository: what runs, what does not, and how colleagues share it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.copies import commit, name_author, ran, run, set_params

BELOW_EXTRACT = ["evaluate", "export", "extract", "finetune", "report"]
EVERYTHING = ["evaluate", "export", "extract", "fetch@digits", "finetune", "pretrain", "report", "split"]


def test_the_committed_lock_file_matches_the_committed_code(project: Path, tmp_path: Path) -> None:
    run("git", "clone", "-q", str(project), str(tmp_path / "clone"), cwd=tmp_path)
    output = run("dvc", "repro", "--dry", "--allow-missing", cwd=tmp_path / "clone", fails=None)
    assert "are up to date" in output, f"run `dvc repro` and commit dvc.lock with the change:\n{output}"


def test_a_change_runs_what_depends_on_it_and_nothing_else(finished: Path, tmp_path: Path) -> None:
    here = tmp_path / "project"
    shutil.copytree(finished, here, symlinks=True)
    assert ran(run("dvc", "repro", cwd=here)) == []

    def changed(file: Path, edit: Callable[[], None], expected: list[str]) -> None:
        before = file.read_text()
        edit()
        assert sorted(ran(run("dvc", "repro", cwd=here))) == expected
        file.write_text(before)
        assert ran(run("dvc", "repro", cwd=here)) == [], "what the cache holds was run again"
        assert run("git", "status", "--porcelain", cwd=here) == ""

    script = here / "stages" / "report.py"
    changed(script, lambda: append(script, "# a comment\n"), ["report"])
    params = here / "params.yaml"
    changed(params, lambda: set_params(here, {"extract": {"freeze": "all"}}), BELOW_EXTRACT)

    before = params.read_text()
    set_params(here, {"finetune": {"thawed": {"learning_rate": 0.00007}}})
    assert would_run(here) == ["finetune"]
    params.write_text(before)

    added = here / "data" / "own" / "digits" / "3" / "one_more.jpg"
    shutil.copy(here / "data" / "fetch" / "paper_digits" / "3" / unused(here), added)
    run("dvc", "add", "-q", "data/own/digits", cwd=here)
    learned_from = [here / "data" / "split" / f"{name}.parquet" for name in ("train", "val")]
    before = [path.read_bytes() for path in learned_from]
    stages = sorted(ran(run("dvc", "repro", "report", cwd=here)))
    if before == [path.read_bytes() for path in learned_from]:  # it went to the test split: nothing trains anew
        assert stages == ["evaluate", "report", "split"]
    else:
        assert stages == ["evaluate", "extract", "finetune", "report", "split"]
    assert would_run(here) == ["export"]


def would_run(here: Path) -> list[str]:
    """Return the stages whose own inputs changed; what these write may let others run."""
    return ran(run("dvc", "repro", "--dry", cwd=here))


def append(path: Path, text: str) -> None:
    """Add ``text`` to a file."""
    path.write_text(path.read_text() + text)


def unused(here: Path) -> str:
    """Return a fetched image that the copy in data/own does not hold."""
    held = {path.name for path in (here / "data" / "own" / "digits" / "3").iterdir()}
    return next(
        path.name
        for path in sorted((here / "data" / "fetch" / "paper_digits" / "3").iterdir())
        if path.name not in held
    )


@pytest.mark.slow  # each stage by itself is run twice in test_rules.py
def test_a_second_run_of_the_whole_graph_writes_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    here = tmp_path / "clone"
    run("git", "clone", "-q", str(finished), str(here), cwd=tmp_path)
    shutil.copytree(finished / "data" / "own" / "digits", here / "data" / "own" / "digits")
    assert sorted(ran(run("dvc", "repro", cwd=here))) == [
        *EVERYTHING[:3],
        "fetch@digits",
        "fetch@paper_digits",
        *EVERYTHING[4:],
    ]
    assert run("git", "status", "--porcelain", cwd=here) == ""


def test_two_colleagues(finished: Path, tmp_path: Path) -> None:
    hub, storage = tmp_path / "hub.git", tmp_path / "storage"
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(finished, first, symlinks=True)
    run("git", "init", "-q", "--bare", "-b", "main", str(hub), cwd=tmp_path)
    run("dvc", "remote", "add", "-d", "storage", str(storage), cwd=first)
    commit(first, "Add a remote")
    run("git", "remote", "add", "origin", str(hub), cwd=first)
    run("git", "push", "-q", "-u", "origin", "main", cwd=first)
    run("dvc", "push", "-q", cwd=first)

    run("git", "clone", "-q", str(hub), str(second), cwd=tmp_path)
    name_author(second)
    run("dvc", "pull", "-q", cwd=second)
    assert ran(run("dvc", "repro", cwd=second)) == []

    run("git", "switch", "-q", "-c", "narrower", cwd=second)
    set_params(second, {"evaluate": {"confidence": 0.9}})
    assert ran(run("dvc", "repro", cwd=second)) == ["evaluate", "report"]
    commit(second, "Narrower intervals")
    run("git", "push", "-q", "-u", "origin", "narrower", cwd=second)
    run("dvc", "push", "-q", cwd=second)

    run("git", "fetch", "-q", cwd=first)
    run("git", "switch", "-q", "narrower", cwd=first)
    run("dvc", "pull", "-q", cwd=first)
    assert ran(run("dvc", "repro", cwd=first)) == []
    assert run("git", "status", "--porcelain", cwd=first) == ""

    third = tmp_path / "gpu machine"
    run("git", "clone", "-q", "-b", "narrower", str(hub), str(third), cwd=tmp_path)
    run("dvc", "fetch", "-q", "--run-cache", cwd=third)
    assert ran(run("dvc", "repro", "--pull", "--allow-missing", cwd=third)) == []
    run("dvc", "push", "-q", "--run-cache", cwd=third)

    diff = json.loads(run("dvc", "metrics", "diff", "--json", "main", cwd=first))
    bound = diff["data/evaluate/metrics.json"]["finetuned.accuracy_high"]
    assert bound["diff"] == pytest.approx(bound["new"] - bound["old"])
    assert bound["diff"] < 0
    params = json.loads(run("dvc", "params", "diff", "--json", "main", cwd=first))
    confidence = params["params.yaml"]["evaluate.confidence"]
    assert (confidence["old"], confidence["new"]) == (0.95, 0.9)
