"""idx files: what is written is read again, and a broken file ends in a message, not in a crash or in wrong pixels."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from stages.base.errors import UserError
from stages.sources.idx import read_idx, write_idx

LABELS = b"\0\0\x08\x01" + struct.pack(">I", 3) + bytes([7, 0, 9])

ARRAYS = st.sampled_from(["u1", "i1", "<i2", ">i4", "<f4", "<f8"]).flatmap(
    lambda kind: npst.arrays(kind, npst.array_shapes(max_dims=4, min_side=0, max_side=5))
)


@settings(max_examples=60)
@given(array=ARRAYS, name=st.sampled_from(["a-idx", "a-idx.gz"]))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, name: str) -> None:
    path = tmp_path_factory.mktemp("idx") / name
    write_idx(path, array)
    found = read_idx(path)
    assert found.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, array)


def test_the_format_is_the_published_one(tmp_path: Path) -> None:
    write_idx(tmp_path / "labels", np.array([7, 0, 9], np.uint8))
    assert (tmp_path / "labels").read_bytes() == LABELS


def test_any_gunzip_reads_what_is_written_and_it_holds_no_time_and_no_name(tmp_path: Path) -> None:
    array = np.arange(200_000, dtype=np.int32).reshape(400, 500)  # several blocks
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_idx(tmp_path / folder / f"{folder}.gz", array)
    packed = (tmp_path / "one" / "one.gz").read_bytes()
    assert packed == (tmp_path / "two" / "two.gz").read_bytes()
    assert gzip.decompress(packed)[12:] == array.astype(">i4").tobytes()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "begins with nothing"),
        (b"\x89PNG\r\n\x1a\n", "begins with 89 50 4e 47"),
        (b"\0\0\x07\x01" + LABELS[4:], "begins with 00 00 07 01"),
        (LABELS[:6], "ends within the header"),
        (LABELS[:-1], "promises 3 bytes of data"),
        (LABELS + b"\0", "holds more"),
        (b"\0\0\x0e\x04" + b"\xff" * 16, "holds fewer"),
        (gzip.compress(LABELS, mtime=0)[:-9], "end-of-stream"),
        (gzip.compress(LABELS[:-1], mtime=0), "holds fewer"),
        (gzip.compress(b"\0\0\x0e\x04" + b"\xff" * 16, mtime=0), "holds fewer"),
        (b"\x1f\x8b" + b"garbage" * 9, ""),
        (gzip.compress(LABELS, mtime=0)[:12] + b"\xff" * 20, ""),
        (gzip.compress(LABELS, mtime=0)[:-8] + b"\0" * 8, "CRC"),
    ],
)
def test_a_broken_file_ends_in_one_message_with_its_name(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"train-labels.*expected an idx file") as error:
        read_idx(path)
    assert reason in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"labels\.gz is missing"):
        read_idx(tmp_path / "labels.gz")


def test_what_idx_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uint64"):
        write_idx(tmp_path / "a", np.zeros(3, np.uint64))
