"""fetch: files without a published hash, as some published weights are."""

from pathlib import Path

import pytest

from stages.base.stage import UserError
from stages.fetch import fetch
from stages.sources.catalog import Download
from tests.test_fetch import CONTENT, CUT, NAME, QUICK, Server, server  # noqa: F401  (a fixture)


def item(url: str, size: int | None) -> Download:
    file = {"name": NAME, "urls": [url]} | ({"size": size} if size else {})
    return Download.model_validate({"kind": "download", "files": [file]})


@pytest.mark.parametrize("size", [len(CONTENT), None])
@pytest.mark.parametrize("way", ["whole", "drop"])
def test_a_file_without_hash_comes_whole_and_is_not_called_checked(
    server: Server,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    size: int | None,
    way: str,
) -> None:
    fetch("set", item(server.url("a", way, "whole"), size), tmp_path, "", QUICK)
    assert (tmp_path / "set" / NAME).read_bytes() == CONTENT
    assert f"no hash is published for {NAME}: dvc.lock holds this one's; 0 of them" in capsys.readouterr().out


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_what_a_killed_run_left_is_not_taken_for_the_file(server: Server, tmp_path: Path, size: int | None) -> None:  # noqa: F811
    part = tmp_path / ".part/set" / NAME
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:CUT])
    fetch("set", item(server.url("a"), size), tmp_path, "", QUICK)
    assert (tmp_path / "set" / NAME).read_bytes() == CONTENT


def test_a_file_of_another_size_is_refused(server: Server, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(UserError, match=r"no published hash.*\n.*wrong bytes: 300,000 of them, expected 299,999"):
        fetch("set", item(server.url("a"), len(CONTENT) - 1), tmp_path, "", QUICK)
