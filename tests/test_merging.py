"""Merging branches of different params: files stay valid, and `dvc repro --pull` runs only what is new."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.splitting.lock_table import read_rows
from stages.tools import check
from tests.conftest import PROJECT, Refusal
from tests.helpers.copies import clone, commit, ran, run, set_params
from tests.helpers.quick_pipeline import quick_pipeline

BRANCHES: dict[str, dict[str, object]] = {
    "freeze": {"extract": {"freeze": "all"}},
    "confidence": {"evaluate": {"confidence": 0.9}},
    "freeze_less": {"extract": {"freeze": "none"}},
}
RESULTS = ["data/evaluate/metrics.json", "dvc.lock"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a branch for each change, each pushed with its results and records."""
    folder = tmp_path_factory.mktemp("hub")
    hub = quick_pipeline(folder / "hub", folder / "storage")
    for branch, changes in BRANCHES.items():
        run("git", "switch", "-q", "-c", branch, "main", cwd=hub)
        run("dvc", "checkout", "-q", cwd=hub)
        set_params(hub, changes)
        run("dvc", "repro", "-q", cwd=hub)
        run("dvc", "push", "-q", "--run-cache", cwd=hub)
        commit(hub, branch)
    run("git", "switch", "-q", "--detach", cwd=hub)
    return hub


def clone_pulled(hub: Path, there: Path, branch: str) -> Path:
    clone(hub, there, branch)
    run("dvc", "pull", "-q", cwd=there)
    return there


def unmerged(here: Path) -> list[str]:
    return run("git", "diff", "--name-only", "--diff-filter=U", cwd=here).splitlines()


@pytest.mark.parametrize(
    ("command", "finish"),
    [
        ("merge", "commit --no-edit -a"),
        pytest.param("rebase", "rebase --continue", marks=pytest.mark.slow),
        pytest.param("cherry-pick", "cherry-pick --continue", marks=pytest.mark.slow),
    ],
)
def test_both_orders_give_the_same_result(hub: Path, tmp_path: Path, command: str, finish: str) -> None:
    locks = []
    for ours, theirs in (("freeze", "confidence"), ("confidence", "freeze")):
        here = clone_pulled(hub, tmp_path / ours, ours)
        run("git", command, f"origin/{theirs}", cwd=here, fails=True)
        assert unmerged(here) == RESULTS, "params.yaml merges by itself"
        assert ran(run("dvc", "repro", "--pull", cwd=here)) == ["evaluate"], "what others have pushed was run again"
        run("git", "add", *RESULTS, cwd=here)
        run("git", *finish.split(), cwd=here, GIT_EDITOR="true")
        assert ran(run("dvc", "repro", cwd=here)) == []
        assert run("git", "status", "--porcelain", cwd=here) == ""
        locks.append(YAML(typ="safe").load(here / "dvc.lock"))
    assert locks[0] == locks[1]


def test_a_conflict_in_params_is_resolved_by_hand(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal
) -> None:
    here = clone_pulled(hub, tmp_path / "clone", "freeze")
    run("git", "merge", "origin/freeze_less", cwd=here, fails=True)
    assert unmerged(here) == [*RESULTS, "params.yaml"]
    assert "YAML" in run("dvc", "repro", "--pull", cwd=here, fails=True)
    monkeypatch.chdir(here)
    monkeypatch.setattr("sys.argv", ["check"])
    said = refused(check.main)
    assert re.search(r"params.yaml, line \d+: a merge left conflict markers. Keep the lines that you want", said)
    params = here / "params.yaml"
    merged = re.sub(r"<{7} .*?={7}\n(.*?)>{7} .*?\n", r"\1", params.read_text(), flags=re.S)
    params.write_text(merged)
    assert "freeze: none" in merged
    output = run("dvc", "repro", "--pull", cwd=here)
    assert ran(output) == ["evaluate"], "its metrics are in git alone, so no cache holds them"
    assert run("git", "diff", "--name-only", "origin/freeze_less", "--", *RESULTS, cwd=here) == ""


@pytest.mark.parametrize("name", ["dvc.lock", "dvc.yaml", "data/own/photographs.dvc"])
def test_check_names_files_with_conflict_markers(
    here: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal, name: str
) -> None:
    file = here / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> other\n")
    for arguments in (["check"], ["check", "--write"]):
        monkeypatch.setattr("sys.argv", arguments)
        said = refused(check.main)
        assert f"{name}, line 2: a merge left conflict markers." in said
        assert ("git checkout --ours" in said) == (name != "dvc.yaml")


def test_locked_images_of_both_branches_stay_locked(hub: Path, tmp_path: Path) -> None:
    here = clone_pulled(hub, tmp_path / "clone", "main")
    table, header = here / "data" / "tables" / "split.csv", "pixels,class,split\n"
    table.parent.mkdir()
    table.write_text(header)
    commit(here, "No locks")
    for branch, rows in (("one", ("1,a,test", "3,a,test")), ("two", ("2,b,other", "3,a,test"))):
        run("git", "switch", "-q", "-c", branch, "main", cwd=here)
        table.write_text(header + "".join(f"{row[0] * 15}{row}\n" for row in rows))
        commit(here, branch)
    run("git", "merge", "-q", "--no-edit", "one", cwd=here)
    assert set(read_rows(table)) == {"1" * 16, "2" * 16, "3" * 16}


@pytest.mark.slow
def test_the_merge_driver_of_dvc_merges_added_images(hub: Path, tmp_path: Path) -> None:
    here = clone_pulled(hub, tmp_path / "clone", "main")
    images = here / "data" / "own" / "photographs"
    images.mkdir(parents=True)

    def add(name: str) -> None:
        (images / name).write_text(name)
        run("dvc", "add", "-q", "data/own/photographs", cwd=here)
        commit(here, name)

    add("start.jpg")
    for branch in ("one", "two"):
        run("git", "switch", "-q", "-c", branch, "main", cwd=here)
        run("dvc", "checkout", "-q", cwd=here)
        add(f"{branch}.jpg")
    assert "conflict" in run("git", "merge", "one", cwd=here, fails=True)
    run("git", "merge", "--abort", cwd=here)
    page = (PROJECT / "docs" / "merging.md").read_text()
    [configure] = re.findall(r"^(git config merge.dvc.driver '.*')", page, re.M)
    run("bash", "-c", configure, cwd=here)
    run("git", "merge", "--no-edit", "one", cwd=here)
    run("dvc", "checkout", "-q", cwd=here)
    assert {path.name for path in images.iterdir()} == {"start.jpg", "one.jpg", "two.jpg"}
