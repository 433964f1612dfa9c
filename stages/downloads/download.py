"""Bring one published file here: from a mirror or its addresses, resumed, retried, and taken only with the right hash.

Nothing is ever unpacked or loaded here, and no pickle: a file is bytes with a known hash.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from stages.base.errors import UserError
from stages.base.files import hash_file
from stages.base.terminal import say
from stages.downloads.catalog import PublishedFile
from stages.downloads.http import MissingError, RefusedError, RetryPolicy, check_space, read_address, remove_part


def list_places(file: PublishedFile, item: str, mirror: str) -> list[str | Path]:
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


def is_intact(path: Path, file: PublishedFile) -> bool:
    """Whether ``path`` is a file with the size and hash of ``file``, as far as they are known."""
    return path.is_file() and not _fault(path, file)


def obtain(file: PublishedFile, part: Path, places: Sequence[str | Path], patience: RetryPolicy, home: Path) -> None:
    """Bring ``file`` to ``part`` from the first of ``places`` that gives the right bytes.

    What an interrupted run left at ``part`` is gone on with at the address it came from, if the server marks versions
    of the file or a hash is published: bytes of two versions or two addresses are never joined unnoticed. What is there
    afterwards has the right hash. ``home`` is the folder where a user may put the file instead.

    Raises:
        UserError: there is no room for it, or no place gives it; the message says of each why not.
    """
    if (file.hash or file.size) and is_intact(part, file):  # without either, nobody knows whether the part is whole
        return
    part.parent.mkdir(parents=True, exist_ok=True)
    check_space(file, file.size, part)
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


def _fault(path: Path, file: PublishedFile) -> str:
    """Say what is wrong with the bytes at ``path``; nothing if they are right."""
    size = path.stat().st_size
    if file.size not in (None, size):
        return f"wrong bytes: {size:,} of them, expected {file.size:,}"
    if file.hash is None:
        return ""
    kind, expected = file.hash.split(":")
    found = hash_file(path, kind)
    return "" if found == expected else f"wrong bytes: {kind} {found}, expected {expected}"


def _copy(place: Path, file: PublishedFile, part: Path) -> None:
    if not place.is_file():
        raise MissingError("no such file")
    remove_part(part)
    shutil.copyfile(place, part)
    _refuse_wrong(part, file)


def _download(url: str, file: PublishedFile, part: Path, patience: RetryPolicy) -> None:
    resumed = read_address(url, file, part, patience)
    if resumed and _fault(part, file):  # what was there may be of another version: once more, from the start
        remove_part(part)
        read_address(url, file, part, patience)
    _refuse_wrong(part, file)


def _refuse_wrong(part: Path, file: PublishedFile) -> None:
    if fault := _fault(part, file):
        remove_part(part)
        raise RefusedError(fault)
