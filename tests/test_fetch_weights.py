"""fetch: files without a published hash, as some published weights are."""

import resource
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.base.errors import UserError
from stages.downloads.catalog import DownloadItem
from stages.fetch import fetch
from tests.test_fetch import CONTENT, CUT, NAME, NEWER, QUICK, Server, server  # noqa: F401  (a fixture)


def item(size: int | None, *urls: str) -> DownloadItem:
    file = {"name": NAME, "urls": list(urls)} | ({"size": size} if size else {})
    return DownloadItem.model_validate({"kind": "download", "files": [file]})


@pytest.mark.parametrize("size", [len(CONTENT), None])
@pytest.mark.parametrize("way", ["whole", "drop"])
def test_a_file_without_hash_comes_whole_and_is_not_called_checked(
    server: Server,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    size: int | None,
    way: str,
) -> None:
    fetch("set", item(size, server.url("a", way, "whole")), tmp_path, "", QUICK)
    assert (tmp_path / "set" / NAME).read_bytes() == CONTENT
    assert f"no hash is published for {NAME}: dvc.lock records it\n" in capsys.readouterr().out


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_what_a_killed_run_left_is_not_taken_for_the_file(server: Server, tmp_path: Path, size: int | None) -> None:  # noqa: F811
    part = tmp_path / ".part/set" / NAME
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:CUT])
    fetch("set", item(size, server.url("a")), tmp_path, "", QUICK)
    assert (tmp_path / "set" / NAME).read_bytes() == CONTENT


def test_a_file_of_another_size_is_refused(server: Server, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(UserError, match=r"no published hash.*\n.*wrong bytes: 300,000 of them, expected 299,999"):
        fetch("set", item(len(CONTENT) - 1, server.url("a")), tmp_path, "", QUICK)


@pytest.mark.parametrize(
    ("marks", "safe"), [("strong", True), ("old", True), ("weak", False), ("fresh", False), ("", False)]
)
def test_a_broken_download_goes_on_only_within_one_version(
    server: Server,  # noqa: F811
    tmp_path: Path,
    marks: str,
    safe: bool,
) -> None:
    server.marks = marks
    fetch("set", item(None, server.url("a", "drop", "whole")), tmp_path, "", QUICK)
    assert (tmp_path / "set" / NAME).read_bytes() == CONTENT
    assert [asked for _, asked in server.seen] == [None, f"bytes={CUT}-" if safe else None]


@pytest.mark.parametrize(
    ("marks", "ways", "requests"),
    [
        ("strong", ["drop", "newer"], 2),
        ("strong", ["drop", "newer no if", "newer"], 3),
        ("old", ["drop", "newer"], 2),
        ("old", ["drop", "newer no if", "newer"], 3),
        ("same", ["short drop", "newer"], 3),  # only the size shows it
        ("", ["drop", "newer"], 2),
    ],
)
def test_a_file_that_changed_on_the_way_comes_whole(
    server: Server,  # noqa: F811
    tmp_path: Path,
    marks: str,
    ways: list[str],
    requests: int,
) -> None:
    server.marks = marks
    fetch("set", item(None, server.url("a", *ways)), tmp_path, "", QUICK)
    assert (tmp_path / "set" / NAME).read_bytes() == NEWER
    assert len(server.seen) == requests


@pytest.mark.parametrize("marks", ["same", ""])
def test_another_address_is_read_from_its_start(server: Server, tmp_path: Path, marks: str) -> None:  # noqa: F811
    server.marks = marks
    fetch("set", item(None, server.url("a", "drop", "404"), server.url("b", "newer")), tmp_path, "", QUICK)
    assert [asked for path, asked in server.seen if path == "/b"] == [None]
    assert (tmp_path / "set" / NAME).read_bytes() == NEWER


def test_a_body_that_does_not_end_is_given_up_for_the_next(
    server: Server,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("stages.downloads.http.UNSTATED", CUT - 1)
    fetch("set", item(None, server.url("endless", "close"), server.url("good")), tmp_path, "", QUICK)
    assert (tmp_path / "set" / NAME).read_bytes() == CONTENT
    assert "/endless: more than 99,999 bytes, the limit for a file whose size" in capsys.readouterr().out


def test_a_disk_that_fills_up_is_one_line(server: Server, tmp_path: Path) -> None:  # noqa: F811
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (CUT // 2, hard))
    try:
        with pytest.raises(UserError, match=rf"^\S+{NAME} cannot be written: .*File too large\. Free .*again\.$"):
            fetch("set", item(None, server.url("a", "close")), tmp_path, "", QUICK)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_too_little_room_for_what_the_server_states_is_said_at_once(
    server: Server,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=CUT))
    with pytest.raises(UserError, match=rf"{NAME}: 300 kB to download, 100 kB free in .*Free some space"):
        fetch("set", item(None, server.url("a")), tmp_path, "", QUICK)
    assert not (tmp_path / ".part/set" / NAME).exists()
