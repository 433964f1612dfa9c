"""Read and write idx files, MNIST's format: a short header, then the array's bytes in big-endian order.

LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist: two zero bytes, a type code, the number of dimensions, each
dimension as a 4-byte integer, the data.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from stages.base.errors import UserError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CODES = {np.dtype(name): code for code, name in TYPES.items()}
GZIP = b"\x1f\x8b"
EXPANSION = 1100  # deflate expands one byte to at most 1,032; a header that promises more is wrong
BLOCK = 0xFFFF  # maximum bytes in a stored block of deflate


def read_idx(path: Path) -> np.ndarray:
    """Return the array in the idx file at ``path``, plain or gzipped, in native byte order.

    Raises:
        UserError: the file is missing, not an idx file, or has fewer or more bytes than its header says.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP
        with gzip.open(path) if packed else path.open("rb") as file:
            return _read(file, path.stat().st_size * (EXPANSION if packed else 1))  # type: ignore[arg-type]
    except FileNotFoundError:
        raise UserError(f"{path} is missing.") from None
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: expected an idx file, received something else or a part of one: {error}") from None


def _read(file: BinaryIO, most: int) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or magic[3] == 0:
        raise ValueError(f"it begins with {magic.hex(' ') or 'nothing'}, not 00 00, a type and a number of dimensions.")
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise ValueError(f"it ends within the header of {magic[3]} dimensions.")
    shape = struct.unpack(f">{magic[3]}I", header)
    kind = np.dtype(TYPES[magic[2]])
    promised = math.prod(shape) * kind.itemsize
    data = file.read(promised + 1) if promised <= most else b""  # do not allocate more than the file can fill
    if len(data) != promised:
        held = "more" if len(data) > promised else "fewer"
        raise ValueError(f"its header promises {promised:,} bytes of data, shape {shape}; it holds {held}.")
    return np.frombuffer(data, kind).reshape(shape).astype(kind.newbyteorder("="))


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write ``array`` as an idx file, gzipped if the name ends in .gz; the same array gives the same bytes.

    Raises:
        ValueError: idx files do not support arrays of this type, or without dimensions.
    """
    kind = array.dtype.newbyteorder(">")
    if kind not in CODES or not 0 < array.ndim < 256:
        raise ValueError(f"expected an array of {', '.join(map(str, CODES))}, received {array.dtype}, {array.ndim}-d")
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[kind], array.ndim, *array.shape)
    data = header + array.astype(kind).tobytes()
    path.write_bytes(_pack_stored(data) if path.suffix == ".gz" else data)


def _pack_stored(data: bytes) -> bytes:
    """Return ``data`` as a gzip file of uncompressed blocks (RFC 1951, 3.2.4; RFC 1952).

    Not by gzip, not even at level 0: how zlib divides data into blocks depends on its version, build and buffers, so
    that files would not have the same bytes on every machine.
    """
    out = bytearray(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")  # deflate, no name, no time, system unknown
    for start in range(0, max(len(data), 1), BLOCK):
        block = data[start : start + BLOCK]
        last = start + BLOCK >= len(data)
        out += struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block
    return bytes(out + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF))
