"""Download one address into a file over HTTP: resumed where that is safe, retried, and limited in size and time.

``urllib3.util.Retry`` repeats a request that fails before its body arrives. Most failures here are in a body of up to
gigabytes, so retrying has to know the bytes on disk: resume with Range and If-Range, grant new tries after progress,
cut off a trickle, and give up on a server that asks to wait for an hour. Retry would be a second loop inside this one.
"""

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
ADVANCE = 1 << 20  # bytes of progress that reset the number of tries
UNSTATED = 4 << 30  # largest download of unknown size, in bytes: over three times the largest file in the catalog
SETTLED = 60  # age of Last-Modified, in seconds, from which it identifies a version: a later change gets a later date
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)  # HTTP errors worth a retry; others are final


@dataclass(frozen=True)
class RetryPolicy:
    """How long to tolerate a bad connection."""

    tries: int = 4  # for each address
    wait: float = 1.0  # seconds before the second try; doubled before each further one
    longest: float = 300.0  # seconds that a server may ask to wait (Retry-After); beyond, its address is given up
    stall: float = 20.0  # seconds without a byte, or below the pace, until a connection counts as broken
    pace: float = 512.0  # bytes per second


class RefusedError(Exception):
    """The place refuses the file, and a retry would not help. str() is the reason."""


class MissingError(RefusedError):
    """The place does not have the file."""


class BrokenError(Exception):
    """The connection failed; the next try may resume. str() is the reason.

    Args:
        reason: in words.
        wait: how many seconds the server asks to wait.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Origin(Section):
    """Where a partial file comes from, recorded beside it, so that a later run knows whether it may resume."""

    url: str
    validator: str | None  # identifies the file's version, for If-Range
    size: int | None  # of the complete file in bytes, if the server stated it


def check_space(file: PublishedFile, size: int | None, part: Path) -> None:
    """Raise UserError if the disk has no space for the rest of a file.

    Args:
        file: the file, for its name.
        size: its size in bytes, if known.
        part: where it is written; a partial download may be there.
    """
    needed, free = (size or 0) - _size(part), shutil.disk_usage(part.parent).free
    if needed > free:
        raise UserError(
            f"{file.name}: {format_size(needed)} to download, {format_size(free)} free in {part.parent}. "
            "Free some space, then run it again."
        )


def read_address(url: str, file: PublishedFile, part: Path, patience: RetryPolicy) -> bool:
    """Download ``url`` to ``part`` with several tries; return whether the last one resumed an earlier one.

    Args:
        url: the address.
        file: the file, with its hash and size if they are known.
        part: where to write it; a partial download may be there.
        patience: how to retry.

    Raises:
        RefusedError: the address does not provide the file.
        UserError: there is no space for it.
    """
    left, wait, furthest = patience.tries, patience.wait, _size(part) if _read_origin(url, file, part) else 0
    while True:
        try:
            return _attempt(url, file, part, patience)
        except BrokenError as reason:
            if reason.wait > patience.longest:
                raise RefusedError(f"{reason}; the server asks to retry in {reason.wait / 60:,.0f} minutes") from None
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
    """Download ``url`` once, resuming at the end of ``part`` if that is safe; return whether it was."""
    origin = _read_origin(url, file, part)
    # identity: the bytes as published, without compression on the way.
    headers = {"Accept-Encoding": "identity"}
    if origin:
        headers |= {"Range": f"bytes={_size(part)}-"} | ({"If-Range": origin.validator} if origin.validator else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=patience.stall) as response:
            start, stated = _find_position(response, origin, part)
            if file.size is not None and stated not in (None, file.size):
                raise RefusedError(f"wrong bytes: {stated:,} of them, expected {file.size:,}")
            total = stated or file.size
            check_space(file, total, part)
            if not start:
                remove_part(part)  # first, so that the record never describes other bytes
                now = Origin(url=url, validator=_read_validator(response), size=stated)
                _record(part).write_text(now.model_dump_json(), encoding="utf-8")
            with part.open("ab") as out, tqdm(total=total, initial=start, desc=f"  {file.name}", **BYTES) as bar:
                for chunk in _chunks(response.raw, patience):
                    out.write(chunk)
                    bar.update(len(chunk))
                    if out.tell() > (total or UNSTATED):
                        remove_part(part)
                        raise RefusedError(_explain_excess(total))
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise BrokenError(_explain(error)) from None
    if total is not None and _size(part) < total:
        raise BrokenError(f"the connection ended after {_size(part):,} of {total:,} bytes")
    return start > 0


def _explain_excess(total: int | None) -> str:
    if total:
        return f"wrong bytes: more than the {total:,} expected"
    return (
        f"more than {UNSTATED:,} bytes, the limit for a file whose size neither the server nor the catalog states (if "
        "it is that large, add its size to the catalog)"
    )


BYTES: dict[str, Any] = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "leave": False, "disable": None}


def _find_position(response: requests.Response, origin: Origin | None, part: Path) -> tuple[int, int | None]:
    """Return where in the file the body of ``response`` starts, and the size of the complete file if it is stated."""
    status = f"HTTP {response.status_code} {response.reason}"
    if response.status_code in (404, 410):
        raise MissingError(status)
    if response.status_code == 200:  # also if the file has changed, or the server does not support ranges
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    if origin and response.status_code in (206, 416):
        begun = _size(part)
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if response.status_code == 206 and span and int(span[1]) == begun:
            stated = origin.size if span[2] == "*" else int(span[2])
            same = origin.validator is None or _read_validator(response) in (None, origin.validator)
            if same and origin.size in (None, stated):
                return begun, stated
        remove_part(part)
        raise BrokenError(f"{status}: cannot resume at byte {begun:,}")
    if response.status_code in TRANSIENT:
        raise BrokenError(status, _read_retry_after(response))
    raise RefusedError(status)


def _read_validator(response: requests.Response) -> str | None:
    """Return what identifies this version of the file, if If-Range accepts it.

    RFC 9110 (8.8.2.2 and 13.1.5) allows a strong ETag; or, without any ETag, a modification date that no later change
    can share.
    """
    headers = response.headers
    if "ETag" in headers:
        return headers["ETag"] if headers["ETag"].startswith('"') else None
    changed, sent = _parse_date(headers.get("Last-Modified")), _parse_date(headers.get("Date"))
    return headers["Last-Modified"] if changed and sent and sent - changed >= SETTLED else None


def _read_retry_after(response: requests.Response) -> float:
    """Return how many seconds Retry-After asks to wait; 0 if it is missing, past or invalid."""
    after = response.headers.get("Retry-After", "").strip()
    if after.isdecimal():
        return float(after)
    now = _parse_date(response.headers.get("Date")) or time.time()  # the server's clock, which may differ from ours
    return max(0.0, (_parse_date(after) or now) - now)


def _parse_date(date: str | None) -> float | None:
    """Return an HTTP date in seconds since 1970; None if it is not a date."""
    try:
        parsed = parsedate_tz(date or "")
        return mktime_tz(parsed) if parsed else None
    except (ValueError, OverflowError):
        return None


def _chunks(body: Any, patience: RetryPolicy) -> Iterator[bytes]:
    """Yield the body as it arrives, and raise BrokenError on a trickle, at which the socket never times out."""
    since, received = time.monotonic(), 0
    while chunk := body.read1(CHUNK, decode_content=False):
        yield chunk
        received += len(chunk)
        passed = time.monotonic() - since
        if passed >= patience.stall:
            if received < patience.pace * passed:
                raise BrokenError(f"only {received:,} bytes in {passed:.0f} s")
            since, received = time.monotonic(), 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _record(part: Path) -> Path:
    return part.with_name(f".{part.name}.json")  # hidden, so that no published file has this name


def _read_origin(url: str, file: PublishedFile, part: Path) -> Origin | None:
    """Return the part's record if the download may resume at ``url``; None if it has to start over."""
    try:
        origin = Origin.model_validate_json(_record(part).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return origin if _size(part) and origin.url == url and (origin.validator or file.hash) else None


def remove_part(part: Path) -> None:
    """Remove a partial file and its record."""
    part.unlink(missing_ok=True)
    _record(part).unlink(missing_ok=True)


def _explain(error: BaseException) -> str:
    """Return the innermost cause in words, without the address, which the message names elsewhere."""
    for cause in (getattr(error, "reason", None), *error.args[:1]):
        if isinstance(cause, BaseException):
            return _explain(cause)
    text = str(error.args[0]) if error.args else type(error).__name__
    return text.split("): ", 1)[-1].rstrip(".")
