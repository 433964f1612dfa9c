"""Zip and tar archives as trees of files: listed once and read in place, without unpacking them to files.

An archive with anything that does not belong in a data set is refused as a whole: paths that lead outside it, links,
devices, and the sizes of a decompression bomb. A compressed tar cannot be read in place. It is unpacked once into an
unnamed temporary file, which the system removes when the process ends.

``shutil.unpack_archive`` and ``tarfile``'s filters would write hundreds of thousands of small files, bound neither size
nor ratio, and decode no names of other encodings.
"""

import bz2
import errno
import gzip
import io
import lzma
import re
import stat
import tarfile
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Callable
from functools import partial
from typing import IO, Any

from stages.base.errors import UserError, shorten, summarize
from stages.base.terminal import show_progress
from stages.sources.tree import DAMAGED, UTF8, File, Folder, decode_name

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
STREAMS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": lambda packed: gzip.GzipFile(fileobj=packed),  # type: ignore[dict-item,return-value]
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
MEMBERS = 2_000_000  # files and folders in an archive; ImageNet has 1.3 million
MEMBER = 512 << 20  # bytes of one file; the largest of the published sets, in CIFAR-100, has 154 million
DEPTH = 32  # folders in folders
RATIO, SMALL = 200, 64 << 20  # an archive may unpack to SMALL bytes plus RATIO times its size: images hardly compress
CHUNK = 1 << 20
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile does not bound the output of the others
ENCRYPTED = 0x41  # flags of a zip member: with a password, or with keys
PATCHED = 0x20
UNICODE = 0x800
AGAIN = "Fetch or copy it again; if it is your own, pack it again."


def is_archive(name: str) -> bool:
    """Return whether a file name has the suffix of an archive."""
    return name.lower().endswith(SUFFIXES)


def max_unpacked_size(size: int) -> int:
    """Return how many bytes an archive of ``size`` bytes may unpack to."""
    return SMALL + RATIO * size


def read_archive(file: File, name: str, allowed: int, names: str = UTF8) -> Folder:
    """List a zip or tar archive; its first bytes tell the format.

    Args:
        file: the archive; it may be a file in another archive.
        name: its name in messages.
        allowed: the maximum size of all its files in bytes, unpacked.
        names: the encoding of names that are not marked as Unicode.

    Raises:
        UserError: it is not an archive, truncated, encrypted, has members that a data set must not have, or names that
            are not in this encoding.
    """
    try:
        with file.open() as opened:
            begin = opened.read(6)
            unpack = next((STREAMS[magic] for magic in STREAMS if begin.startswith(magic)), None)
        if begin.startswith((b"PK\3\4", b"PK\5\6")):
            return _zip(make_seekable(file, name, allowed), name, allowed, names)
        if unpack:
            with file.open() as opened, unpack(opened) as stream:
                file = _unpack(stream, name, allowed)
        return _tar(make_seekable(file, name, allowed), name, names)
    except (OSError, tarfile.TarError, *DAMAGED) as error:
        raise UserError(
            f"{name}: expected a complete zip or tar archive, received another file or a truncated one: "
            f"{summarize(error)}. {AGAIN}"
        ) from None


def make_seekable(file: File, name: str, allowed: int = MEMBER) -> File:
    """Return a file with fast seeks: ``file`` itself, or a temporary file with its unpacked bytes.

    Args:
        file: the file.
        name: its name in messages.
        allowed: the maximum number of bytes, unpacked.
    """
    if not file.packed:
        return file
    with file.open() as stream:
        return _unpack(stream, name, allowed)


class _SharedHandle:
    """A file handle that several ``_FilePart`` objects share."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.lock = file, threading.Lock()
        self.size = file.seek(0, io.SEEK_END)
        weakref.finalize(self, file.close)


class UnpackedStore:
    """An unnamed temporary file to which files are unpacked one after another.

    Args:
        name: of the archive, in messages.
        allowed: the maximum number of bytes.
    """

    def __init__(self, name: str, allowed: int) -> None:
        self.name, self.allowed = name, allowed
        self.shared = _SharedHandle(tempfile.TemporaryFile())  # noqa: SIM115 - open as long as its parts are in use

    def add(self, data: bytes) -> File:
        """Append ``data``, and return it as a file."""
        start, self.shared.size = self.shared.size, self.shared.size + len(data)
        if self.shared.size > self.allowed:
            raise UserError(
                f"{self.name} unpacks to more than {self.allowed:,} bytes: refused as a decompression bomb."
            )
        try:
            self.shared.file.write(data)
            self.shared.file.flush()  # reports a full disk now, not when the file is read
        except OSError as error:
            raise _explain_write_error(self.name, error) from None
        return self.file(start)

    def file(self, start: int = 0) -> File:
        """Return everything from byte ``start`` on as one file."""
        return File(partial(_FilePart, self.shared, start, self.shared.size - start))  # type: ignore[arg-type]


class _FilePart(io.RawIOBase):
    """A part of a file as a separate file, with its own position."""

    def __init__(self, shared: _SharedHandle, start: int, size: int) -> None:
        self.shared, self.start, self.size, self.at = shared, start, size, 0

    def seekable(self) -> bool:
        return True

    readable = seekable

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence])
        return self.at

    def tell(self) -> int:
        return self.at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self.size - self.at)  # allocate for the actual bytes, not for the size in a header
        return super().read(left if size is None or size < 0 else min(size, left)) or b""

    def readinto(self, buffer: Any) -> int:
        with self.shared.lock:
            self.shared.file.seek(self.start + self.at)
            data = self.shared.file.read(max(0, min(len(buffer), self.size - self.at)))
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


def _unpack(stream: IO[bytes], name: str, allowed: int) -> File:
    target = UnpackedStore(name, allowed)
    for chunk in show_progress(iter(lambda: stream.read(CHUNK), b""), f"unpacking {name}", unit="MiB"):
        target.add(chunk)
    return target.file()


def _explain_write_error(name: str, error: OSError) -> UserError:
    full = "no space left" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
    folder = tempfile.gettempdir()
    return UserError(
        f"{name} cannot be unpacked in {folder}: {full}. Free some space there, or set TMPDIR to another folder."
    )


def _tar(file: File, name: str, names: str) -> Folder:
    shared = _SharedHandle(file.open())
    whole = partial(_FilePart, shared, 0, shared.size)
    root, count = Folder(), 0
    with tarfile.open(fileobj=whole(), mode="r:", encoding="utf-8") as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # unused here, and there may be a million
            count += 1
            if not member.isdir() and (not member.isreg() or member.issparse()):
                kind = "a symbolic link" if member.issym() else "a hard link" if member.islnk() else "a special file"
                raise _make_refusal(name, member.name, kind)
            _check(name, member.name, member.size, count)
            read = File(partial(_FilePart, shared, member.offset_data, member.size))  # type: ignore[arg-type]
            raw = member.name.encode(UTF8, "surrogateescape")
            marked = "path" in member.pax_headers and "hdrcharset" not in member.pax_headers
            path = decode_name(raw, UTF8 if marked else names, name)
            root.add(_path(name, path), None if member.isdir() else read)
        end = archive.offset
    # tarfile takes anything that is not a header for the end of the archive; the real end is a block of zeros.
    with whole() as opened:
        opened.seek(end)
        if opened.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise EOFError(f"it ends abruptly after {end:,} bytes, with {count} files and folders")
    return root


def _zip(file: File, name: str, allowed: int, names: str) -> Folder:
    shared = _SharedHandle(file.open())
    archive = zipfile.ZipFile(_FilePart(shared, 0, shared.size))
    root, total = Folder(), 0
    for count, member in enumerate(archive.infolist(), 1):
        path = member.filename
        if not member.flag_bits & UNICODE and path == member.orig_filename.partition("\0")[0]:
            path = decode_name(path.encode("cp437"), names, name)  # zipfile decodes unmarked names as cp437
        path = path.replace("\\", "/")  # from some Windows programs
        mode = member.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _make_refusal(name, path, "a symbolic link" if stat.S_ISLNK(mode) else "a special file")
        if member.flag_bits & ENCRYPTED:
            raise UserError(f"{name} is encrypted ({path}). Pack it again without a password.")
        if member.compress_type not in METHODS or member.flag_bits & PATCHED:
            raise UserError(
                f"{name}: {path} uses an uncommon compression or feature. Pack it again as an ordinary zip archive."
            )
        _check(name, path, member.file_size, count)
        total += member.file_size
        if total > allowed:
            raise UserError(f"{name} unpacks to more than {allowed:,} bytes: refused as a decompression bomb.")
        # The central directory may understate a size; no more than that is ever unpacked.
        read = File(partial(archive.open, member), packed=True, size=member.file_size)
        root.add(_path(name, path), None if path.endswith("/") else read)
    return root


def _check(name: str, path: str, size: int, count: int) -> None:
    if count > MEMBERS:
        raise UserError(f"{name}: expected at most {MEMBERS:,} files and folders, found more.")
    if not 0 <= size <= MEMBER and not is_archive(path):
        raise _make_refusal(name, path, f"a file of {size:,} bytes (at most {MEMBER:,} are allowed)")


def _path(name: str, path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or re.match("[A-Za-z]:/", path):
        raise _make_refusal(name, path, "an absolute path")
    if ".." in parts:
        raise _make_refusal(name, path, "a path that leads outside it")
    if len(parts) > DEPTH:
        raise _make_refusal(name, path, f"a path of more than {DEPTH} folders")
    return parts


def _make_refusal(name: str, path: str, what: str) -> UserError:
    return UserError(
        f"{name}: refused, because '{shorten(path)}' is {what}. Expected plain files and folders, with paths "
        "inside it. Pack it again without that; if somebody else made it, be careful with it."
    )
