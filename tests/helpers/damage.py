"""Damage that libraries do not notice by themselves."""

import struct


def loop_heap(content: bytes) -> bytes:
    """Let the list of free space in one of HDF5's heaps lead to itself, so that HDF5 never leaves it."""
    changed, start = bytearray(content), content.rindex(b"HEAP")
    first, place = struct.unpack_from("<QQ", content, start + 16)
    struct.pack_into("<Q", changed, place + first, first)
    return bytes(changed)
