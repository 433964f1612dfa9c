"""Read one address into a file: over HTTP, resumed where that is safe, with several tries and limits on all of them."""

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from pathlib import Path
from typing import Any

import requests
import urllib3
from tqdm import tqdm

from stages.base.errors import UserError
from stages.base.params import Section
from stages.base.terminal import format_size, say
from stages.downloads.catalog import PublishedFile

CHUNK = 1 << 18  # bytes read at a time
ADVANCE = 1 << 20  # bytes after which a broken connection has earned all its tries anew
UNSTATED = 4 << 30  # bytes taken of a file whose size nobody states: over three times the largest in the catalog
SETTLED = 60  # seconds by which Last-Modified must lie back for a later change to get another one, though clocks differ
PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP errors that a later try may not meet; others are final


@dataclass(frozen=True)
class RetryPolicy:
    """How long to put up with a bad connection."""

    tries: int = 4  # for each address
    wait: float = 1.0  # seconds before the second try, doubled before each further one
    longest: float = 300.0  # seconds that a server may ask to wait (Retry-After); one that asks for more is given up
    stall: float = 20.0  # seconds without a byte, or below the pace, after which a connection counts as broken
    pace: float = 512.0  # bytes per second


class RefusedError(Exception):
    """The place does not give the file, and would not the next time. str() is the reason."""


class MissingError(RefusedError):
    """The place does not hold the file."""


class BrokenError(Exception):
    """The connection failed; the next try may go on from what has come. str() is the reason.

    ``wait`` is how many seconds the server asks to wait until then.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Origin(Section):
    """What the bytes of a part are of; recorded beside it, so that another run knows if it may ask for the rest."""

    url: str
    validator: str | None  # the server's mark of this version of the file, as If-Range takes it
    size: int | None  # of the whole file in bytes, if the server stated it


def check_space(file: PublishedFile, size: int | None, part: Path) -> None:
    """Raise UserError where the disk has no room for what is left of a file of so many bytes."""
    needed, free = (size or 0) - _size(part), shutil.disk_usage(part.parent).free
    if needed > free:
        raise UserError(
            f"{file.name}: {format_size(needed)} to come, {format_size(free)} free in {part.parent}. "
            "Make room there, then run it again."
        )


def read_address(url: str, file: PublishedFile, part: Path, patience: RetryPolicy) -> bool:
    """Read ``url`` to the end of ``part``, with several tries; return whether the last went on from an earlier one.

    Raises:
        RefusedError: the address does not give the file.
        UserError: there is no room for it.
    """
    left, wait, furthest = patience.tries, patience.wait, _size(part) if _read_origin(url, file, part) else 0
    while True:
        try:
            return _attempt(url, file, part, patience)
        except BrokenError as reason:
            if reason.wait > patience.longest:
                raise RefusedError(
                    f"{reason}; the server asks to come back in {reason.wait / 60:,.0f} minutes"
                ) from None
            if _size(part) >= furthest + ADVANCE:
                left, wait, furthest = patience.tries, patience.wait, _size(part)
            left -= 1
            if left <= 0:
                raise RefusedError(f"{reason} (the last of {patience.tries} tries)") from None
            pause = max(wait, reason.wait)
            if reason.wait or wait == patience.wait:
                say(f"{file.name}: {reason}; trying again in {pause:,.0f} s")
        time.sleep(pause)
        wait *= 2


def _attempt(url: str, file: PublishedFile, part: Path, patience: RetryPolicy) -> bool:
    """Read ``url`` to its end, from where the part ends if that is safe; return whether it was."""
    origin = _read_origin(url, file, part)
    # identity: the bytes as published, even where a server would pack them for the way.
    headers = {"Accept-Encoding": "identity"}
    if origin:
        headers |= {"Range": f"bytes={_size(part)}-"} | ({"If-Range": origin.validator} if origin.validator else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=patience.stall) as response:
            start, stated = _position(response, origin, part)
            if file.size is not None and stated not in (None, file.size):
                raise RefusedError(f"wrong bytes: {stated:,} of them, expected {file.size:,}")
            total = stated or file.size
            check_space(file, total, part)
            if not start:
                remove_part(part)  # first, so that at no time the record speaks for other bytes
                now = Origin(url=url, validator=_validator(response), size=stated)
                _record(part).write_text(now.model_dump_json(), encoding="utf-8")
            with part.open("ab") as out, tqdm(total=total, initial=start, desc=f"  {file.name}", **BYTES) as bar:
                for chunk in _chunks(response.raw, patience):
                    out.write(chunk)
                    bar.update(len(chunk))
                    if out.tell() > (total or UNSTATED):
                        remove_part(part)
                        raise RefusedError(_excess(total))
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise BrokenError(_reason(error)) from None
    if total is not None and _size(part) < total:
        raise BrokenError(f"the connection ended after {_size(part):,} of {total:,} bytes")
    return start > 0


def _excess(total: int | None) -> str:
    if total:
        return f"wrong bytes: more than the {total:,} expected"
    return (
        f"more than {UNSTATED:,} bytes, the most that is taken of a file whose size neither the server nor the catalog "
        "states (if it is that large, add its size to the catalog)"
    )


BYTES: dict[str, Any] = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "leave": False, "disable": None}


def _position(response: requests.Response, origin: Origin | None, part: Path) -> tuple[int, int | None]:
    """Return where in the file the body of ``response`` starts, and the size of the whole file if it is told."""
    status = f"HTTP {response.status_code} {response.reason}"
    if response.status_code in (404, 410):
        raise MissingError(status)
    if response.status_code == 200:  # also where the file has changed, or the server does not know ranges
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    if origin and response.status_code in (206, 416):
        begun = _size(part)
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if response.status_code == 206 and span and int(span[1]) == begun:
            stated = origin.size if span[2] == "*" else int(span[2])
            same = origin.validator is None or _validator(response) in (None, origin.validator)
            if same and origin.size in (None, stated):
                return begun, stated
        remove_part(part)
        raise BrokenError(f"{status}: no way to go on from byte {begun:,}")
    if response.status_code in PASSING:
        raise BrokenError(status, _asked_wait(response))
    raise RefusedError(status)


def _validator(response: requests.Response) -> str | None:
    """Return what tells this version of the file from others, if it is of the kind that If-Range takes.

    RFC 9110 (8.8.2.2 and 13.1.5) allows a strong ETag; or, where there is no ETag at all, a date of change that no
    later change can share.
    """
    headers = response.headers
    if "ETag" in headers:
        return headers["ETag"] if headers["ETag"].startswith('"') else None
    changed, sent = _moment(headers.get("Last-Modified")), _moment(headers.get("Date"))
    return headers["Last-Modified"] if changed and sent and sent - changed >= SETTLED else None


def _asked_wait(response: requests.Response) -> float:
    """Return how many seconds Retry-After asks to wait; 0 if it is missing, past or makes no sense."""
    after = response.headers.get("Retry-After", "").strip()
    if after.isdecimal():
        return float(after)
    now = _moment(response.headers.get("Date")) or time.time()  # the server's clock, which may differ from ours
    return max(0.0, (_moment(after) or now) - now)


def _moment(date: str | None) -> float | None:
    """Return an HTTP date in seconds since 1970; None if it is none."""
    try:
        parsed = parsedate_tz(date or "")
        return mktime_tz(parsed) if parsed else None
    except (ValueError, OverflowError):
        return None


def _chunks(body: Any, patience: RetryPolicy) -> Iterator[bytes]:
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


def _record(part: Path) -> Path:
    return part.with_name(f".{part.name}.json")  # hidden, as no published file is: never another file's part


def _read_origin(url: str, file: PublishedFile, part: Path) -> Origin | None:
    """Return what is known of the part if its rest may be asked for at ``url``; None if it is to be begun anew."""
    try:
        origin = Origin.model_validate_json(_record(part).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return origin if _size(part) and origin.url == url and (origin.validator or file.hash) else None


def remove_part(part: Path) -> None:
    """Remove a part, and what is recorded of it."""
    part.unlink(missing_ok=True)
    _record(part).unlink(missing_ok=True)


def _reason(error: BaseException) -> str:
    """Return the innermost cause in words, without the connection's address, which is named elsewhere."""
    for cause in (getattr(error, "reason", None), *error.args[:1]):
        if isinstance(cause, BaseException):
            return _reason(cause)
    text = str(error.args[0]) if error.args else type(error).__name__
    return text.split("): ", 1)[-1].rstrip(".")
