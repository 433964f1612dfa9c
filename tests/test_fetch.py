"""Fetching brings the published bytes or nothing, over bad connections too; and the made sets are what they say."""

import hashlib
import http.server
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from stages.base.errors import UserError
from stages.builtin_data.digits import divide_digits
from stages.builtin_data.paper import QUALITY, photograph
from stages.downloads.catalog import DownloadItem, read_catalog, read_entry
from stages.downloads.http import RetryPolicy
from stages.fetch import fetch
from stages.sources.idx import read_idx
from stages.sources.read import read_data_set
from tests.test_archives import PUBLISHED

CONTENT = random.Random(1).randbytes(300_000)
NEWER = CONTENT[::-1]
NAME = "images.bin"
CUT = 100_000  # bytes that come before a connection breaks
QUICK = RetryPolicy(tries=3, wait=0.01, stall=2.0, pace=1000.0)
IMPATIENT = RetryPolicy(tries=2, wait=0.01, stall=0.3, pace=1000.0)


class Server(http.server.ThreadingHTTPServer):
    """Serves its content at every path, in the ways that a path has been told to; afterwards as it should be."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: dict[str, list[str]] = {}
        self.seen: list[tuple[str, str | None]] = []  # path and Range of each request
        self.closing = threading.Event()
        self.content = CONTENT
        self.marks = ""  # what marks a version: strong, weak or same for an ETag, old or fresh for a Last-Modified
        self.headers: dict[str, str] = {}  # sent with every answer

    def url(self, path: str, *ways: str) -> str:
        """The address of ``path``, to be served in these ways at the first requests, the last way ever after.

        A way is some of these words: an HTTP error; what to send (wrong, short, long, newer); how (drop, stall,
        trickle, close); and how much of the protocol is not understood ("no ranges", "no if").
        """
        self.plan[f"/{path}"] = list(ways)
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        ways = self.server.plan.get(self.path, ["404"])
        way = ways.pop(0) if len(ways) > 1 else (ways or ["whole"])[0]
        asked = self.headers["Range"]
        self.server.seen.append((self.path, asked))
        if way.isdigit():
            self.answer(int(way))
            self.end_headers()
            return
        content = self.server.content
        other = {"wrong": bytes(len(content)), "short": content[:-1], "long": content + b"!", "newer": NEWER}
        body = next((other[word] for word in way.split() if word in other), content)
        mark = self.mark(body)
        start = int(asked[6:-1]) if asked and "no ranges" not in way else 0
        if self.headers.get("If-Range") not in (None, *mark.values()) and "no if" not in way:
            start = 0
        self.answer(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        for name, value in mark.items():
            self.send_header(name, value)
        if "close" in way:  # HTTP/1.0 knows of no length: an early end looks like the end
            body = body[: start + CUT]
        else:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if "drop" in way or "stall" in way:
            self.wfile.write(body[start : start + CUT])
            self.wfile.flush()
            if "stall" in way:
                self.server.closing.wait(30)
        elif "trickle" in way:
            for byte in body[start:]:
                if self.server.closing.wait(0.02):
                    break
                self.wfile.write(bytes([byte]))
        else:
            self.wfile.write(body[start:])

    def answer(self, status: int) -> None:
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)

    def mark(self, body: bytes) -> dict[str, str]:
        """What is sent to tell this body from other versions."""
        tag = f'"{hashlib.sha256(body).hexdigest()}"'
        old = formatdate(1e9 if body == self.server.content else 1.1e9, usegmt=True)
        marks = {"strong": ("ETag", tag), "weak": ("ETag", f"W/{tag}"), "old": ("Last-Modified", old)}
        marks |= {"fresh": ("Last-Modified", self.date_time_string()), "same": ("ETag", '"1"')}
        return dict([marks[self.server.marks]] if self.server.marks else [])

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client has had enough
            super().handle()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield running
    running.closing.set()
    running.shutdown()
    thread.join()
    running.server_close()


def entry(*urls: str, name: str = NAME, content: bytes = CONTENT, size: bool = True, **more: Any) -> DownloadItem:
    file = {"name": name, "urls": list(urls), "hash": "sha256:" + hashlib.sha256(content).hexdigest()}
    if size:
        file["size"] = len(content)
    return DownloadItem.model_validate({"kind": "download", "files": [file], **more})


def names(folder: Path) -> list[str]:
    """Every file below ``folder``, hidden ones included."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def run(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stages.fetch", *arguments]
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1]), **environment}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=False)


def catalog(folder: Path, **entries: Any) -> Path:
    """Write a project's catalog below ``folder``."""
    path = folder / "stages/downloads/catalog.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(entries))
    return path


def test_a_file_and_its_classes_arrive_and_nothing_else_stays(server: Server, tmp_path: Path) -> None:
    fetch("set", entry(server.url("a"), classes=["cat", "Ankle boot"]), tmp_path, "", QUICK)
    assert names(tmp_path) == ["set/classes.txt", f"set/{NAME}"]
    assert (tmp_path / "set" / NAME).read_bytes() == CONTENT
    assert (tmp_path / "set/classes.txt").read_text() == "cat\nAnkle boot\n"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


# An early end without a stated length ("close") shows only where the catalog states the size.
@pytest.mark.parametrize(("way", "sized"), [("drop", True), ("drop", False), ("close", True)])
def test_a_broken_download_goes_on_where_it_broke(server: Server, tmp_path: Path, way: str, sized: bool) -> None:
    fetch("set", entry(server.url("a", way, way, "whole"), size=sized), tmp_path, "", QUICK)
    assert (tmp_path / "set" / NAME).read_bytes() == CONTENT
    assert [asked for _, asked in server.seen] == [None, f"bytes={CUT}-", f"bytes={2 * CUT}-"]


@pytest.mark.parametrize(("ways", "requests"), [(["no ranges"], 2), (["416", "whole"], 3)])
def test_a_server_that_refuses_ranges_starts_over(
    server: Server, tmp_path: Path, ways: list[str], requests: int
) -> None:
    fetch("set", entry(server.url("a", "drop", *ways)), tmp_path, "", QUICK)
    assert (tmp_path / "set" / NAME).read_bytes() == CONTENT
    assert [asked for _, asked in server.seen] == [None, f"bytes={CUT}-", None][:requests]


@pytest.mark.parametrize("way", ["wrong", "short", "long", "404", "403", "503", "stall", "trickle"])
@pytest.mark.parametrize("sized", [True, False])
def test_a_bad_address_is_given_up_for_the_next(server: Server, tmp_path: Path, way: str, sized: bool) -> None:
    bad = server.url("bad", way)
    fetch("set", entry(bad, server.url("good"), size=sized), tmp_path, "", IMPATIENT)
    assert (tmp_path / "set" / NAME).read_bytes() == CONTENT
    assert server.seen[-1][0] == "/good"
    assert names(tmp_path) == [f"set/{NAME}"]


def test_final_errors_are_asked_once_and_passing_ones_again(server: Server, tmp_path: Path) -> None:
    fetch("set", entry(server.url("gone", "404"), server.url("busy", "503", "429", "whole")), tmp_path, "", QUICK)
    assert [path for path, _ in server.seen] == ["/gone", "/busy", "/busy", "/busy"]


def test_when_nothing_helps_the_message_names_each_address_and_what_to_do(server: Server, tmp_path: Path) -> None:
    bad = entry(server.url("gone", "404"), server.url("wrong", "wrong"), "http://127.0.0.1:1/closed")
    with pytest.raises(UserError) as error:
        fetch("set", bad, tmp_path, str(tmp_path / "mirror"), QUICK)
    text = str(error.value)
    assert NAME in text
    assert re.search(r"/gone: HTTP 404", text)
    assert re.search(r"/wrong: wrong bytes: sha256 \w+, expected \w+", text)
    assert re.search(r":1/closed: .*refused \(the last of 3 tries\)", text)
    assert re.search(rf"mirror/{NAME}: no such file", text)
    assert "THAW_MIRROR" in text
    assert str(tmp_path / "set") in text
    assert not (tmp_path / "set").exists()


def test_a_failed_fetch_leaves_what_was_there(server: Server, tmp_path: Path) -> None:
    fetch("set", entry(server.url("a")), tmp_path, "", QUICK)
    with pytest.raises(UserError):
        fetch("set", entry(server.url("a"), content=b"a newer version"), tmp_path, "", QUICK)
    assert (tmp_path / "set" / NAME).read_bytes() == CONTENT


def test_a_second_run_downloads_nothing(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        fetch("set", entry(server.url("a"), classes=["a", "b"]), tmp_path, "", QUICK)
        assert len(server.seen) == 1
        assert names(tmp_path) == ["set/classes.txt", f"set/{NAME}"]


def test_only_the_file_that_is_wrong_is_fetched_again(server: Server, tmp_path: Path) -> None:
    both = {"kind": "download", "files": []}
    for name in ("one", "two"):
        both["files"] += entry(server.url(name), name=name).model_dump()["files"]  # type: ignore[operator]
    wanted = DownloadItem.model_validate(both)
    (tmp_path / "set").mkdir()
    (tmp_path / "set/one").write_bytes(CONTENT)  # put there by hand
    (tmp_path / "set/two").write_bytes(CONTENT[:-1] + b"?")
    (tmp_path / "set/three").write_bytes(b"not of this set")
    fetch("set", wanted, tmp_path, "", QUICK)
    assert [path for path, _ in server.seen] == ["/two"]
    assert names(tmp_path) == ["set/one", "set/two"]
    assert (tmp_path / "set/two").read_bytes() == CONTENT


@pytest.mark.parametrize("inside", ["", "set"])
@pytest.mark.parametrize("kind", ["folder", "file", "http"])
def test_a_mirror_is_asked_first(server: Server, tmp_path: Path, kind: str, inside: str) -> None:
    held = tmp_path / "a mirror" / inside / NAME
    held.parent.mkdir(parents=True)
    held.write_bytes(CONTENT)
    server.url(f"m/{inside}/{NAME}".replace("//", "/"))
    mirrors = {
        "folder": str(tmp_path / "a mirror"),
        "file": (tmp_path / "a mirror").as_uri(),
        "http": f"http://127.0.0.1:{server.server_port}/m/",
    }
    fetch("set", entry(server.url("published")), tmp_path / "data", mirrors[kind], QUICK)
    assert names(tmp_path / "data") == [f"set/{NAME}"]
    assert held.read_bytes() == CONTENT
    assert "/published" not in [path for path, _ in server.seen]


@pytest.mark.parametrize("held", [None, b"wrong", bytes(len(CONTENT))])
@pytest.mark.parametrize("kind", ["folder", "http"])
def test_a_mirror_without_the_right_bytes_is_passed_over(
    server: Server, tmp_path: Path, kind: str, held: bytes | None
) -> None:
    mirror = str(tmp_path)
    if kind == "http":
        server.url(f"m/{NAME}", *([] if held else ["404"]), *(["wrong"] if held else []))
        mirror = f"http://127.0.0.1:{server.server_port}/m"
    elif held is not None:
        (tmp_path / NAME).write_bytes(held)
    fetch("set", entry(server.url("published")), tmp_path / "data", mirror, QUICK)
    assert (tmp_path / "data/set" / NAME).read_bytes() == CONTENT
    assert server.seen[-1] == ("/published", None)


def test_a_mirror_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"THAW_MIRROR: expected a folder.*received 's3://bucket'"):
        fetch("set", entry("http://127.0.0.1:1/a"), tmp_path, "s3://bucket", QUICK)


def test_a_killed_download_leaves_no_folder_and_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    catalog(tmp_path, set=entry(server.url("a", "stall", "whole")).model_dump(exclude_none=True))
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    running = subprocess.Popen([sys.executable, "-m", "stages.fetch", "set"], cwd=tmp_path, env=variables)
    part = tmp_path / "data/fetch/.part/set" / NAME
    try:
        _until(lambda: part.exists() and part.stat().st_size > 0)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    have = part.stat().st_size
    assert not (tmp_path / "data/fetch/set").exists()
    again = run("set", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert server.seen[-1] == ("/a", f"bytes={have}-")
    assert names(tmp_path / "data") == [f"fetch/set/{NAME}"]


@pytest.mark.parametrize("record", ["as it was", "missing", "", "{", "[]", '{"url": 1}', "\xff"])
def test_what_a_failed_run_left_is_built_on_only_if_its_record_is_sound(
    server: Server, tmp_path: Path, record: str
) -> None:
    wanted = entry(server.url("a", "drop", "404"))
    with pytest.raises(UserError):
        fetch("set", wanted, tmp_path, "", QUICK)
    (beside,) = [path for path in (tmp_path / ".part/set").iterdir() if path.name != NAME]
    if record == "missing":
        beside.unlink()
    elif record != "as it was":
        beside.write_text(record, encoding="latin-1")
    server.url("a")
    fetch("set", wanted, tmp_path, "", QUICK)
    assert server.seen[-1] == ("/a", f"bytes={CUT}-" if record == "as it was" else None)
    assert (tmp_path / "set" / NAME).read_bytes() == CONTENT
    assert names(tmp_path) == [f"set/{NAME}"]


def test_an_address_that_gives_nothing_does_not_cost_what_came_from_another(server: Server, tmp_path: Path) -> None:
    wanted = entry(server.url("gone", "404"), server.url("a", "drop", "404"))
    with pytest.raises(UserError):
        fetch("set", wanted, tmp_path, "", QUICK)
    server.url("a")
    fetch("set", wanted, tmp_path, "", QUICK)
    assert server.seen[-1] == ("/a", f"bytes={CUT}-")


def test_a_rest_of_another_version_is_followed_by_one_more_start(server: Server, tmp_path: Path) -> None:
    """Where nothing marks the versions, the hash tells."""
    fetch("set", entry(server.url("a", "wrong drop", "whole")), tmp_path, "", QUICK)
    assert [asked for _, asked in server.seen] == [None, f"bytes={CUT}-", None]
    assert (tmp_path / "set" / NAME).read_bytes() == CONTENT


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that are waited between tries, which are not really waited."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


@pytest.mark.parametrize("ahead", [None, 0, 10_000, -10_000])
def test_a_server_that_asks_to_wait_is_waited_for(
    server: Server,
    tmp_path: Path,
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ahead: int | None,
) -> None:
    """In seconds or, where its clock is so many seconds ``ahead``, until a date."""
    after = "120"
    if ahead is not None:
        monkeypatch.setattr(Handler, "date_time_string", lambda _: formatdate(time.time() + ahead, usegmt=True))
        after = formatdate(time.time() + ahead + 120, usegmt=True)
    server.headers = {"Retry-After": after}
    fetch("set", entry(server.url("a", "429", "503", "whole")), tmp_path, "", QUICK)
    assert [round(seconds, -1) for seconds in waits] == [120, 120]
    said = capsys.readouterr().out
    assert re.search(r"HTTP 429 Too Many Requests; trying again in 1[12]\d s", said)
    assert re.search(r"HTTP 503 Service Unavailable; trying again in 1[12]\d s", said)


@pytest.mark.parametrize("after", ["", "soon", "-5", "1.5", "Wed, 99 Foo 2026", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_time_to_wait_that_is_past_or_makes_no_sense_is_ignored(
    server: Server, tmp_path: Path, waits: list[float], after: str
) -> None:
    server.headers = {"Retry-After": after}
    fetch("set", entry(server.url("a", "429", "503", "whole")), tmp_path, "", QUICK)
    assert waits == [QUICK.wait, 2 * QUICK.wait]


def test_a_server_that_asks_for_too_long_a_wait_is_given_up_for_the_next(
    server: Server, tmp_path: Path, waits: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    server.headers = {"Retry-After": "3600"}
    fetch("set", entry(server.url("busy", "429"), server.url("good")), tmp_path, "", QUICK)
    assert ([path for path, _ in server.seen], waits) == (["/busy", "/good"], [])
    assert "/busy: HTTP 429 Too Many Requests; the server asks to retry in 60 minutes" in capsys.readouterr().out


def test_an_unknown_item_is_answered_with_the_known_ones(project: Path) -> None:
    done = run("fashon_mnist", folder=project)
    assert done.returncode == 1
    assert "no item 'fashon_mnist'" in done.stderr
    assert "Did you mean fashion_mnist?" in done.stderr
    assert "digits, paper_digits, mnist, fashion_mnist" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_item_is_answered_with_the_known_ones(project: Path) -> None:
    done = run(folder=project)
    assert done.returncode == 1
    assert "digits, paper_digits, mnist, fashion_mnist" in done.stderr


FILE = {"name": NAME, "hash": "md5:" + "0" * 32, "urls": ["http://127.0.0.1:1/a"]}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (None, "set: expected an entry of kind download or made, received None"),
        ({"kind": "magic"}, "expected an entry of kind download or made, received kind 'magic'"),
        ({"kind": "download"}, "set.files: missing"),
        ({"kind": "download", "files": []}, "set.files: expected"),
        ({"kind": "download", "files": [FILE], "clases": []}, "set.clases: unknown key"),
        ({"kind": "download", "files": [{**FILE, "hash": "d41d8cd9"}]}, "set.files.0.hash: expected md5: or sha256:"),
        ({"kind": "download", "files": [{**FILE, "name": "../up"}]}, "set.files.0.name: expected a plain file name"),
        ({"kind": "download", "files": [{**FILE, "urls": ["ftp://x"]}]}, "set.files.0.urls.0: expected an address"),
        ({"kind": "download", "files": [{**FILE, "size": "9 MB"}]}, "received '9 MB'"),
        ({"kind": "download", "files": [FILE, FILE]}, "set.files: expected one or more files of different names"),
        (
            {"kind": "download", "files": [FILE], "classes": ["a/b", "c"]},
            "set.classes.0: expected a name without slashes",
        ),
        ({"kind": "download", "files": [FILE], "classes": ["a", "a"]}, "set.classes: expected different names"),
        (
            {"kind": "made", "generator": "dreams"},
            "set.generator: expected 'digits' or 'paper_digits'; received 'dreams'",
        ),
    ],
)
def test_a_broken_entry_is_named(tmp_path: Path, broken: Any, message: str) -> None:
    path = catalog(tmp_path, set=broken)
    with pytest.raises(UserError) as error:
        fetch("set", read_entry(path, "set"), tmp_path / "data", "", QUICK)
    assert message in str(error.value)
    assert not (tmp_path / "data/set").exists()


def test_every_entry_of_the_catalog_is_sound(project: Path) -> None:
    path = project / "stages/downloads/catalog.yaml"
    sets = ["digits", "paper_digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "caltech101", "caltech256"]
    assert list(read_catalog(path))[:9] == [*sets, "cats_vs_dogs"]
    for item in read_catalog(path):
        read_entry(path, item)
    clothes = read_entry(path, "fashion_mnist")
    assert isinstance(clothes, DownloadItem)
    assert clothes.classes is not None
    assert len(clothes.classes) == 10


@pytest.mark.parametrize("item", PUBLISHED)
def test_published_archives_are_kept_as_downloaded_and_read(
    project: Path, server: Server, tmp_path: Path, item: str
) -> None:
    """Each in miniature: with the catalog's own name of the file, and the hash of what the server has."""
    _, made, classes, count = PUBLISHED[item]
    real = read_entry(project / "stages/downloads/catalog.yaml", item)
    assert isinstance(real, DownloadItem)
    (file,) = real.files
    assert file.name == PUBLISHED[item][0]
    assert file.size is not None
    server.content = made()
    fetch(item, entry(server.url(file.name), name=file.name, content=server.content), tmp_path, "", QUICK)
    assert names(tmp_path) == [f"{item}/{file.name}"]
    assert (tmp_path / item / file.name).read_bytes() == server.content
    found = read_data_set(tmp_path / item)
    assert (sorted(found.classes, key=str.lower), len(found.samples)) == (classes, count)
    assert {sample.class_name for sample in found.samples} == set(classes)


def test_too_little_room_is_said_before_anything_is_asked_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / ".part/set" / NAME
    left.parent.mkdir(parents=True)
    left.write_bytes(CONTENT[:CUT])
    free = len(CONTENT) - CUT
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free - 1))
    with pytest.raises(UserError, match=rf"{NAME}: 200 kB to download, 200 kB free in .*set. Free some space"):
        fetch("set", entry(server.url("a")), tmp_path, "", QUICK)
    assert server.seen == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    fetch("set", entry(server.url("a")), tmp_path, "", QUICK)
    assert (tmp_path / "set" / NAME).read_bytes() == CONTENT


def test_mnist_comes_from_a_mirror_as_published(project: Path, shared: Path, tmp_path: Path) -> None:
    path = catalog(tmp_path)
    path.write_bytes((project / "stages/downloads/catalog.yaml").read_bytes())
    done = run("mnist", folder=tmp_path, THAW_MIRROR=str(shared / "mirror"))
    assert done.returncode == 0, done.stderr
    assert "mnist: 4 files, 11.6 MB" in done.stdout
    images = read_idx(tmp_path / "data/fetch/mnist/train-images-idx3-ubyte.gz")
    labels = read_idx(tmp_path / "data/fetch/mnist/t10k-labels-idx1-ubyte.gz")
    assert images.shape == (60_000, 28, 28)
    assert labels.shape == (10_000,)
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]
    again = run("mnist", folder=tmp_path, THAW_MIRROR=str(tmp_path / "nowhere"))
    assert "4 of them were already here" in again.stdout


@pytest.fixture(scope="module")
def made(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    for item in ("digits", "paper_digits"):
        fetch(item, read_entry(project / "stages/downloads/catalog.yaml", item), folder, "", QUICK)
    return folder


def test_the_digits_are_in_the_manner_of_mnist(made: Path) -> None:
    for part, least in (("train", 90), ("t10k", 10)):
        images = read_idx(made / "digits" / f"{part}-images-idx3-ubyte.gz")
        labels = read_idx(made / "digits" / f"{part}-labels-idx1-ubyte.gz")
        assert images.shape == (len(labels), 28, 28)
        assert images.dtype == np.uint8
        assert np.bincount(labels, minlength=10).min() >= least
        assert np.all(images.max(axis=(1, 2)) > 200)  # white ink ...
        assert np.all(np.median(images, axis=(1, 2)) == 0)  # ... on black
        rows, columns = np.indices((28, 28))
        for axis in (rows, columns):
            middle = (images * axis).sum(axis=(1, 2)) / images.sum(axis=(1, 2))
            assert np.abs(middle - 14).max() < 1.0


def test_the_paper_digits_are_photographs_of_ink_on_paper(made: Path) -> None:
    paths = sorted((made / "paper_digits").rglob("*.jpg"))
    counts = Counter(path.parent.name for path in paths)
    assert sorted(counts) == [str(digit) for digit in range(10)]
    assert len(set(counts.values())) == 1
    sizes = set()
    for path in paths[::7]:
        image = Image.open(path)
        sizes.add(image.size)
        assert image.mode == "RGB"
        assert min(image.size) >= 160
        gray = np.asarray(image.convert("L")).astype(int)
        assert np.median(gray) > 100  # mostly paper, and ink far darker
        assert np.median(gray) - np.percentile(gray, 0.5) > 40
    assert any(width != height for width, height in sizes)


def test_made_sets_are_the_same_bytes_each_time(made: Path, project: Path, tmp_path: Path) -> None:
    fetch("digits", read_entry(project / "stages/downloads/catalog.yaml", "digits"), tmp_path, "", QUICK)
    assert all((tmp_path / name).read_bytes() == (made / name).read_bytes() for name in names(tmp_path))
    paper = divide_digits()["paper"]  # an image does not depend on those before it, so a few tell of all
    for digit in range(10):
        photograph(paper, int(np.flatnonzero(paper.labels == digit)[7])).save(tmp_path / "7.jpg", quality=QUALITY)
        assert (tmp_path / "7.jpg").read_bytes() == (made / "paper_digits" / str(digit) / "007.jpg").read_bytes()


def test_no_digit_is_in_two_parts() -> None:
    parts = divide_digits()
    numbers = np.concatenate([scans.numbers for scans in parts.values()])
    assert len(set(numbers.tolist())) == len(numbers)
    pixels = [scan.tobytes() for scans in parts.values() for scan in scans.ink]
    assert len(set(pixels)) == len(pixels)


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
