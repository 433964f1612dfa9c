"""Bring one published file here: from a mirror or its addresses, resumed, retried, and taken only with the right hash.

Nothing is ever unpacked or loaded here, and no pickle: a file is bytes with a known hash.
"""

import hashlib
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import requests
import urllib3
from tqdm import tqdm

from stages.base.stage import UserError, say
from stages.sources.catalog import Published

CHUNK = 1 << 18  # bytes read at a time
ADVANCE = 1 << 20  # bytes after which a broken connection has earned all its tries anew
PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP errors that a later try may not meet; others are final


@dataclass(frozen=True)
class Patience:
    """How long to put up with a bad connection."""

    tries: int = 4  # for each address
    wait: float = 1.0  # seconds before the second try, doubled before each further one
    stall: float = 20.0  # seconds without a byte, or below the pace, after which a connection counts as broken
    pace: float = 512.0  # bytes per second


class RefusedError(Exception):
    """The place does not give the file, and would not the next time. str() is the reason."""


class MissingError(RefusedError):
    """The place does not hold the file."""


class BrokenError(Exception):
    """The connection failed; the next try may go on from what has come. str() is the reason."""


def sources(file: Published, item: str, mirror: str) -> list[str | Path]:
    """Return where to look for ``file``, in order: MIRROR/ITEM/NAME, MIRROR/NAME, then its published addresses.

    Raises:
        UserError: ``mirror`` is neither empty, a folder, nor a file:// or http(s):// address.
    """
    if not mirror:
        return list(file.urls)
    scheme = urlsplit(mirror).scheme if "://" in mirror else ""
    if scheme in ("http", "https"):
        base = mirror.rstrip("/")
        return [f"{base}/{quote(item)}/{quote(file.name)}", f"{base}/{quote(file.name)}", *file.urls]
    if scheme not in ("", "file"):
        raise UserError(f"THAW_MIRROR: expected a folder, or a file:// or http(s):// address, received {mirror!r}.")
    folder = Path(url2pathname(urlsplit(mirror).path)) if scheme else Path(mirror).expanduser()
    return [folder / item / file.name, folder / file.name, *file.urls]


def is_right(path: Path, file: Published) -> bool:
    """Whether ``path`` is a file with the size and hash of ``file``, as far as they are known."""
    return path.is_file() and not _fault(path, file)


def obtain(file: Published, part: Path, places: Sequence[str | Path], patience: Patience, home: Path) -> None:
    """Bring ``file`` to ``part`` from the first of ``places`` that gives the right bytes.

    What an interrupted run left at ``part`` is gone on with; what is there afterwards has the right hash. ``home`` is
    the folder where a user may put the file instead.

    Raises:
        UserError: there is no room for it, or no place gives it; the message says of each why not.
    """
    if (file.hash or file.size) and is_right(part, file):  # without either, nobody knows whether the part is whole
        return
    part.parent.mkdir(parents=True, exist_ok=True)
    _check_room(file, part)
    reasons = []
    for place in places:
        try:
            if isinstance(place, Path):
                _copy(place, file, part)
            else:
                _download(place, file, part, patience)
            return
        except RefusedError as reason:
            reasons.append(f"  {place}: {reason}")
            if place != places[-1] and not isinstance(reason, MissingError):
                say(f"{place}: {reason}; trying the next place")
        except OSError as error:
            raise UserError(f"{part} cannot be written: {error}. Make room for it there, then run it again.") from None
    advice = (
        f"Check the network and run it again; or set THAW_MIRROR to a folder or address that holds {file.name}; "
        f"or put the file into {home} yourself."
    )
    raise UserError(
        "\n".join([f"{file.name} ({file.hash or 'no published hash'}) could not be fetched:", *reasons, advice])
    )


def _fault(path: Path, file: Published) -> str:
    """Say what is wrong with the bytes at ``path``; nothing if they are right."""
    size = path.stat().st_size
    if file.size not in (None, size):
        return f"wrong bytes: {size:,} of them, expected {file.size:,}"
    if file.hash is None:
        return ""
    kind, expected = file.hash.split(":")
    with path.open("rb") as content:
        found = hashlib.file_digest(content, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    return "" if found == expected else f"wrong bytes: {kind} {found}, expected {expected}"


def _check_room(file: Published, part: Path) -> None:
    needed, free = (file.size or 0) - _size(part), shutil.disk_usage(part.parent).free
    if needed > free:
        raise UserError(
            f"{file.name}: {needed / 1e6:,.1f} MB to come, {free / 1e6:,.1f} MB free in {part.parent}. "
            "Make room there, then run it again."
        )


def _copy(place: Path, file: Published, part: Path) -> None:
    if not place.is_file():
        raise MissingError("no such file")
    shutil.copyfile(place, part)
    if fault := _fault(part, file):
        part.unlink()
        raise RefusedError(fault)


def _download(url: str, file: Published, part: Path, patience: Patience) -> None:
    begun = _size(part) > 0
    _persist(url, file, part, patience)
    if begun and _fault(part, file):  # what was there may be of other bytes: once more, from the start
        part.unlink()
        _persist(url, file, part, patience)
    if fault := _fault(part, file):
        part.unlink()
        raise RefusedError(fault)


def _persist(url: str, file: Published, part: Path, patience: Patience) -> None:
    """Read ``url`` to its end, with several tries."""
    left, wait, furthest = patience.tries, patience.wait, _size(part)
    while True:
        try:
            return _attempt(url, file, part, patience)
        except BrokenError as reason:
            if _size(part) >= furthest + ADVANCE:
                left, wait, furthest = patience.tries, patience.wait, _size(part)
            left -= 1
            if left <= 0:
                raise RefusedError(f"{reason} (the last of {patience.tries} tries)") from None
            if wait == patience.wait:
                say(f"{file.name}: {reason}; trying again")
        time.sleep(wait)
        wait *= 2


def _attempt(url: str, file: Published, part: Path, patience: Patience) -> None:
    begun = _size(part)
    # identity: the bytes as published, even where a server would pack them for the way.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={begun}-"} if begun else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=patience.stall) as response:
            start, total = _position(response, begun, part)
            if file.size is not None and total not in (None, file.size):
                raise RefusedError(f"wrong bytes: {total:,} of them, expected {file.size:,}")
            total = total or file.size
            with (
                part.open("ab" if start else "wb") as out,
                tqdm(total=total, initial=start, desc=f"  {file.name}", **BYTES) as bar,
            ):
                for chunk in _chunks(response.raw, patience):
                    out.write(chunk)
                    bar.update(len(chunk))
                    if total is not None and out.tell() > total:
                        raise RefusedError(f"wrong bytes: more than the {total:,} expected")
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise BrokenError(_reason(error)) from None
    if total is not None and _size(part) < total:
        raise BrokenError(f"the connection ended after {_size(part):,} of {total:,} bytes")


BYTES: dict[str, Any] = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "leave": False, "disable": None}


def _position(response: requests.Response, begun: int, part: Path) -> tuple[int, int | None]:
    """Return where in the file the body of ``response`` starts, and the size of the whole file if it is told."""
    status = f"HTTP {response.status_code} {response.reason}"
    if response.status_code in (404, 410):
        raise MissingError(status)
    if response.status_code == 200:  # also from a server that does not know ranges
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status_code == 206 and span and int(span[1]) == begun:
        return begun, None if span[2] == "*" else int(span[2])
    if response.status_code in (206, 416):
        part.unlink(missing_ok=True)
        raise BrokenError(f"{status}: no way to go on from byte {begun:,}")
    raise BrokenError(status) if response.status_code in PASSING else RefusedError(status)


def _chunks(body: Any, patience: Patience) -> Iterator[bytes]:
    """Go through what arrives, as it arrives, so that a trickle is noticed although the socket never times out."""
    since, received = time.monotonic(), 0
    while chunk := body.read1(CHUNK, decode_content=False):
        yield chunk
        received += len(chunk)
        passed = time.monotonic() - since
        if passed >= patience.stall:
            if received < patience.pace * passed:
                raise BrokenError(f"no more than {received:,} bytes in {passed:.0f} s")
            since, received = time.monotonic(), 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: BaseException) -> str:
    """Return the innermost cause in words, without the connection's address, which is named elsewhere."""
    for cause in (getattr(error, "reason", None), *error.args[:1]):
        if isinstance(cause, BaseException):
            return _reason(cause)
    text = str(error.args[0]) if error.args else type(error).__name__
    return text.split("): ", 1)[-1].rstrip(".")
