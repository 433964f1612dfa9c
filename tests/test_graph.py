"""The whole graph in a git and DVC repository: what runs, what does not, and how colleagues share it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.copies import clone, commit, ran, run, set_params

BELOW_FINETUNE = ["finetune", "evaluate", "report", "export"]
BELOW_EXTRACT = sorted(["extract", "extract_test", *BELOW_FINETUNE])


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
    changed(params, lambda: set_params(here, {"extract": {"freeze": 4}}), ["extract"])  # the same depth as -2
    changed(params, lambda: set_params(here, {"compute": {"frozen": "onnxruntime"}}), ["extract"])

    before = params.read_text()
    set_params(here, {"finetune": {"thawed": {"learning_rate": 0.00007}}})
    assert would_run(here) == ["finetune", "report", "export"]  # report and model card show the rates
    params.write_text(before)

    added = here / "data" / "own" / "digits" / "3" / "one_more.jpg"
    shutil.copy(here / "data" / "fetch" / "paper_digits" / "3" / unused(here), added)
    run("dvc", "add", "-q", "data/own/digits", cwd=here)
    splits = {name: here / "data" / "split" / f"{name}.parquet" for name in ("train", "val", "test")}
    before = {name: path.read_bytes() for name, path in splits.items()}
    stages = ran(run("dvc", "repro", "report", cwd=here))
    changed_splits = {name for name, path in splits.items() if path.read_bytes() != before[name]}
    expected = ["split", "evaluate", "report"]
    if changed_splits & {"train", "val"}:  # else it went to the test split, or to none: nothing trains anew
        expected += ["extract", "finetune"]
    if "test" in changed_splits:
        expected += ["extract_test"]
    assert sorted(stages) == sorted(expected)
    assert would_run(here) == (["export"] if changed_splits else [])


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


@pytest.mark.parametrize("harm", ["zeroed", "removed"])
def test_harm_to_what_is_kept_of_the_test_images_is_noticed_and_healed(
    finished: Path, tmp_path: Path, harm: str
) -> None:
    here = tmp_path / "project"
    shutil.copytree(finished, here, symlinks=True)
    features = here / "data" / "extract_test" / "features.npy"
    before = features.read_bytes()
    features.unlink()  # it may be a link into DVC's cache
    if harm == "zeroed":
        features.write_bytes(before[:128] + bytes(len(before) - 128))
    run("dvc", "repro", "evaluate", cwd=here)
    assert features.read_bytes() == before
    for name in ("metrics.json", "scores.json"):
        healed, measured = (folder / "data" / "evaluate" / name for folder in (here, finished))
        assert healed.read_bytes() == measured.read_bytes()
    assert run("git", "status", "--porcelain", cwd=here) == ""


def test_what_file_managers_leave_is_no_data(finished: Path, tmp_path: Path) -> None:
    here = shutil.copytree(finished, tmp_path / "project", symlinks=True)
    folder = here / "data" / "own" / "digits" / "3"
    for name in (".DS_Store", "Thumbs.db", "._one.jpg", "desktop.ini", "@eaDir/one.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    assert "up to date" in run("dvc", "status", cwd=here)


def test_git_holds_the_metrics_and_the_tables_alone(finished: Path) -> None:
    held = run("git", "ls-files", "data", cwd=finished).splitlines()
    assert [path for path in held if not path.endswith((".gitignore", ".dvc"))] == [
        "data/evaluate/metrics.json",
        "data/tables/split.csv",
    ]


@pytest.mark.slow
def test_two_colleagues_with_the_real_graph(finished: Path, tmp_path: Path) -> None:
    hub, storage, first = tmp_path / "hub.git", tmp_path / "storage", tmp_path / "first"
    shutil.copytree(finished, first, symlinks=True)
    run("git", "init", "-q", "--bare", "-b", "main", str(hub), cwd=tmp_path)
    run("dvc", "remote", "add", "-d", "storage", str(storage), cwd=first)
    commit(first, "Add a remote")
    run("git", "remote", "add", "origin", str(hub), cwd=first)
    run("git", "push", "-q", "-u", "origin", "main", cwd=first)
    run("dvc", "push", "-q", cwd=first)

    second = clone(hub, tmp_path / "second")
    run("dvc", "pull", "-q", cwd=second)
    assert ran(run("dvc", "repro", cwd=second)) == []

    run("git", "switch", "-q", "-c", "slower", cwd=second)
    set_params(second, {"finetune": {"thawed": {"learning_rate": 0.00007}}})
    assert ran(run("dvc", "repro", cwd=second)) == BELOW_FINETUNE, "the frozen part ran again"
    run("dvc", "push", "-q", "--run-cache", cwd=second)
    commit(second, "Learn more slowly")
    run("git", "push", "-q", "-u", "origin", "slower", cwd=second)

    run("git", "fetch", "-q", cwd=first)
    run("git", "switch", "-q", "slower", cwd=first)
    run("dvc", "pull", "-q", cwd=first)
    assert ran(run("dvc", "repro", cwd=first)) == []
    assert run("git", "status", "--porcelain", cwd=first) == ""

    assert difference(first, "metrics", "data/evaluate/metrics.json", "test.log_loss")["diff"] != 0
    rate = difference(first, "params", "params.yaml", "finetune.thawed.learning_rate")
    assert (rate["old"], rate["new"]) == (0.0001, 0.00007)


def difference(here: Path, of: str, file: str, key: str) -> dict[str, float]:
    """Return what `dvc metrics diff` or `dvc params diff` says of a key, from branch main on."""
    found: dict[str, float] = json.loads(run("dvc", of, "diff", "--json", "main", cwd=here))[file][key]
    return found
