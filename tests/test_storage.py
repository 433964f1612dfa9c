"""DVC's cache: linked instead of copied, on another disk, for a group, and after dvc gc."""

import shutil
import stat
from pathlib import Path

import pytest

from tests.helpers.copies import commit, ran, run, set_params
from tests.helpers.quick_pipeline import quick_pipeline


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "link", [pytest.param("symlink", marks=pytest.mark.slow), pytest.param("hardlink", marks=pytest.mark.exhaustive)]
)
def test_stages_read_and_replace_links(finished: Path, tmp_path: Path, link: str) -> None:
    here = shutil.copytree(finished, tmp_path / "project", symlinks=True)
    run("dvc", "config", "--local", "cache.type", link, cwd=here)
    run("dvc", "checkout", "-q", "--relink", cwd=here)
    images = files(here / "data" / "own")
    linked = [path for path in images if path.is_symlink() or path.stat().st_nlink > 1]
    assert len(linked) == len(images) - 2, "all but the .dvc file and .gitignore"
    set_params(here, {"split": {"seed": 5}, "extract": {"freeze": "all"}})
    stages = ["split", "extract", "extract_test", "finetune", "evaluate", "report", "export"]
    assert sorted(ran(run("dvc", "repro", cwd=here))) == sorted(stages)
    assert "DVC's cache are what their hashes say" in run("python", "-m", "stages", "check", "--data", cwd=here)
    run("git", "checkout", "-q", "params.yaml", cwd=here)
    assert ran(run("dvc", "repro", cwd=here)) == []
    assert run("git", "status", "--porcelain", cwd=here) == ""


@pytest.mark.slow
def test_the_cache_lies_on_another_disk_and_data_is_no_link(tmp_path: Path) -> None:
    here, disk = quick_pipeline(tmp_path / "project", tmp_path / "storage"), tmp_path / "disk"
    shutil.move(here / "data", disk)
    (here / "data").symlink_to(disk)
    set_params(here, {"extract": {"freeze": "all"}})
    assert "is outside of git repository" in run("dvc", "repro", cwd=here, fails=True)
    (here / "data").unlink()
    shutil.move(disk, here / "data")

    (disk / "cache").mkdir(parents=True)
    run("dvc", "cache", "dir", "--local", str(disk / "cache"), cwd=here)
    for part in (here / ".dvc" / "cache").iterdir():
        shutil.move(part, disk / "cache")
    run("dvc", "config", "--local", "cache.type", "symlink", cwd=here)
    run("dvc", "config", "--local", "cache.shared", "group", cwd=here)
    run("dvc", "checkout", "-q", "--force", "--relink", cwd=here)  # the failed run left another data/extract
    assert ran(run("dvc", "repro", cwd=here)) == ["extract", "finetune", "evaluate"]
    assert (here / "data" / "extract" / "result.txt").resolve().is_relative_to(disk)
    [record, *_] = sorted(files(disk / "cache" / "runs"), key=lambda path: path.stat().st_mtime, reverse=True)
    assert record.stat().st_mode & stat.S_IWGRP, "another member of the group cannot write"


@pytest.mark.slow
def test_what_gc_deletes_comes_back(tmp_path: Path) -> None:
    here = quick_pipeline(tmp_path / "project", tmp_path / "storage")
    run("git", "switch", "-q", "-c", "other", cwd=here)
    set_params(here, {"finetune": {"seed": 7}})
    run("dvc", "repro", "-q", cwd=here)
    commit(here, "Another seed")
    run("dvc", "push", "-q", cwd=here)
    run("git", "switch", "-q", "main", cwd=here)
    run("dvc", "checkout", "-q", cwd=here)
    records = len(files(here / ".dvc" / "cache" / "runs"))

    for cloud, runs in (([], []), (["-c"], ["finetune", "evaluate"])):
        run("dvc", "gc", "-w", "--force", *cloud, cwd=here)
        run("git", "switch", "-q", "other", cwd=here)
        assert "Checkout failed" in run("dvc", "checkout", cwd=here, fails=True)
        assert ("Checkout failed" in run("dvc", "pull", cwd=here, fails=None)) == bool(cloud)
        assert ran(run("dvc", "repro", cwd=here)) == runs
        assert run("git", "status", "--porcelain", cwd=here) == "", "other bytes than before"
        run("git", "switch", "-q", "main", cwd=here)
        run("dvc", "checkout", "-q", cwd=here)
    assert len(files(here / ".dvc" / "cache" / "runs")) == records
