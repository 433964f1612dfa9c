"""A data set's files as a tree of folders, on disk or in an archive."""

import errno
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from lzma import LZMAError
from pathlib import Path
from stat import S_ISREG
from typing import IO

from stages.base.errors import UserError

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".heic", ".ppm", ".pgm")
)
# Files that Windows, macOS, Linux, Android and network storage create in folders.
SYSTEM_FILES = frozenset(
    (
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "system volume information"),
        *("__macosx", "icon\r", "lost+found", "lost.dir", "@eadir", "@recycle", "#recycle", "#snapshot"),
    )
)
UTF8 = "utf-8"
TRIED = ("latin-1", "cp437", "shift_jis", "gb18030")  # encodings in which a message shows a name
SHOWN = 40  # characters of a name in a message
_RENAME = "Set split.names to the encoding of the names, or rename them to UTF-8 (those in pretrain.source, too)."
# Errors from reading a damaged archive.
DAMAGED = (EOFError, LZMAError, NotImplementedError, ValueError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class File:
    """A file, on disk or in an archive.

    Attributes:
        open: returns a new handle; several threads may read at once, each with its own.
        packed: whether a seek has to unpack everything before the position.
        size: the maximum number of bytes to read; -1: all.
    """

    open: Callable[[], IO[bytes]]
    packed: bool = False
    size: int = -1

    def read(self) -> bytes:
        """Return its bytes; raise OSError if they cannot be read."""
        try:
            with self.open() as file:
                return file.read(self.size)
        except DAMAGED as error:
            raise OSError(errno.EIO, f"damaged in the archive ({error})") from None


@dataclass
class Folder:
    """A folder: its subfolders and files by name, without hidden ones."""

    folders: dict[str, "Folder"] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)

    def add(self, path: Sequence[str], file: File | None) -> None:
        """Add a file, or a folder if ``file`` is None, with its parents; ignore hidden paths."""
        if not path or any(map(is_hidden, path)):
            return
        folder = self
        for name in path if file is None else path[:-1]:
            folder = folder.folders.setdefault(name, Folder())
        if file is not None:
            folder.files[path[-1]] = file

    def walk(self, above: str = "") -> Iterator[tuple[str, File]]:
        """Yield the path and the file of all files in a fixed order: a folder's files, then its subfolders'."""
        for name in sorted(self.files):
            yield above + name, self.files[name]
        for name in sorted(self.folders):
            yield from self.folders[name].walk(f"{above}{name}/")

    def images(self) -> list[str]:
        """Return the names of the image files directly in the folder, by their suffixes."""
        return sorted(name for name in self.files if is_image(name))


def refer_to_file(path: Path) -> File:
    """Return a ``File`` that opens ``path`` on demand."""

    def opened() -> IO[bytes]:
        if not S_ISREG(path.stat().st_mode):  # reading a pipe would block
            raise OSError(errno.EINVAL, "not a regular file")
        return path.open("rb")

    return File(opened)


def read_folder(path: Path, names: str = UTF8, above: tuple[tuple[int, int], ...] = ()) -> Folder:
    """Read the tree of files at ``path``; links are followed.

    Args:
        path: the folder.
        names: the encoding of file and folder names.
        above: the device and inode numbers of its parents.

    Raises:
        UserError: a folder cannot be read, is a link to one of its parents, or has a name that is not in this encoding.
    """
    folder = Folder()
    try:
        stat = path.stat()
        place = (stat.st_dev, stat.st_ino)
        if place in above:
            raise UserError(f"{path} is a link to one of its parent folders. Remove the link.")
        with os.scandir(path) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                name = decode_name(os.fsencode(entry.name), names, str(path))
                if name in folder.folders or name in folder.files:
                    raise UserError(f"{path}: two names in it read '{name}' in {names}. {_RENAME}")
                if os.path.isdir(entry.path):  # False for a link to itself, which becomes an unreadable file
                    folder.folders[name] = read_folder(Path(entry.path), names, (*above, place))
                else:
                    folder.files[name] = refer_to_file(Path(entry.path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Change its permissions, or move it.") from None
    return folder


def decode_name(name: bytes, names: str, where: str) -> str:
    """Decode the name or path of a file or folder.

    Args:
        name: its bytes.
        names: their encoding.
        where: the folder or archive, for the message.

    Raises:
        UserError: the name is not in this encoding; the message shows it in others.
    """
    try:
        return name.decode(names)
    except UnicodeError:
        readings = []
        for encoding in TRIED:
            with suppress(UnicodeError):
                if (text := name.decode(encoding)[:SHOWN]).isprintable():
                    readings.append(f"'{text}' in {encoding}")
        reads = f"; it reads {', '.join(readings)}" if readings else ""
        shown = ascii(name[:SHOWN])[2:-1]
        raise UserError(f"{where}: the name '{shown}' is not in {names}{reads}. {_RENAME}") from None


def is_image(name: str) -> bool:
    """Return whether a file name has the suffix of an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_table(name: str) -> bool:
    """Return whether a file name has the suffix of a table."""
    return name.lower().endswith((".csv", ".tsv"))


def sort_naturally(names: Iterable[str]) -> list[str]:
    """Sort names in natural order: "2" before "10"."""

    def key(name: str) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]

    return sorted(names, key=lambda name: (key(name), name))


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or created by the system, judging by its name."""
    return name.startswith(".") or name.lower() in SYSTEM_FILES
