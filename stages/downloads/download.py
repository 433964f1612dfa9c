"""Fetch one published file from a mirror or its addresses: resumed, retried, and verified by its hash.

Nothing is unpacked or loaded here: a file is bytes with a known hash. pooch downloads by hash, too, but from a single
address, from the start after every failure, and without limits on size and time.
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
    """Return the places to try for ``file``, in order: MIRROR/ITEM/NAME, MIRROR/NAME, then its published addresses.

    >>> file = PublishedFile(name="a.zip", urls=["https://example.org/a.zip"])
    >>> list_places(file, "flowers", "https://mirror.example")[:2]
    ['https://mirror.example/flowers/a.zip', 'https://mirror.example/a.zip']

    Args:
        file: the file.
        item: the catalog item that it belongs to.
        mirror: a folder or address that is tried first; may be empty.

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
    """Return whether ``path`` has the size and hash of ``file``, if they are known."""
    return path.is_file() and not _find_fault(path, file)


def obtain(file: PublishedFile, part: Path, places: Sequence[str | Path], patience: RetryPolicy, home: Path) -> None:
    """Fetch ``file`` to ``part`` from the first of ``places`` that provides the right bytes.

    An interrupted download resumes at the address it came from, if the server identifies versions of the file or a hash
    is published: bytes of two versions or two addresses are never joined unnoticed.

    Args:
        file: the file, with its hash and size if they are known.
        part: where to write it; a partial download may be there.
        places: paths and addresses, tried in order.
        patience: how to retry.
        home: the folder where a user may put the file instead, for the message.

    Raises:
        UserError: there is no space for it, or no place provides it; the message gives the reason for each place.
    """
    if (file.hash or file.size) and is_intact(part, file):  # with neither, the part may be incomplete
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
            raise UserError(f"{part} cannot be written: {error}. Free some space, then run it again.") from None
    advice = (
        f"Check the network and run it again; or set THAW_MIRROR to a folder or address that has {file.name}; "
        f"or put the file into {home} yourself."
    )
    raise UserError(
        "\n".join([f"{file.name} ({file.hash or 'no published hash'}) could not be fetched:", *reasons, advice])
    )


def _find_fault(path: Path, file: PublishedFile) -> str:
    """Return what is wrong with the bytes at ``path``; an empty string if nothing is."""
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
    if resumed and _find_fault(part, file):  # the first bytes may be from another version: start over
        remove_part(part)
        read_address(url, file, part, patience)
    _refuse_wrong(part, file)


def _refuse_wrong(part: Path, file: PublishedFile) -> None:
    if fault := _find_fault(part, file):
        remove_part(part)
        raise RefusedError(fault)
