"""Find near duplicates: images that were recompressed, resized, slightly brightened, or mirrored."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.base.prefetch import map_in_threads
from stages.base.processor import count_cores
from stages.images.bit_depth import stretch_to_8_bits
from stages.images.contract import Range
from stages.images.decode import read_image
from stages.images.thumbnail import make_thumbnail
from stages.splitting.examine import ExaminedImage, hash_picture

# Bits that may differ: 0 to 2 after recompressing photographs (quality 50), resizing to 2/3 or mirroring, and up to 4
# in the small images of CIFAR-10. At 6 bits, CIFAR-10 has pairs of different objects.
LIMIT = 4
_CHUNKS = LIMIT + 1  # if at most LIMIT bits differ, two hashes are equal in at least one of these chunks
_WIDTH = -(-64 // _CHUNKS)
_PAIRS = 2**22  # compared at a time
_PICTURES = 24  # pairs with pictures


def hash_pictures(images: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the hashes of image files; see ``hash_picture``."""

    def compute(data: bytes) -> tuple[int, int]:
        return hash_picture(stretch_to_8_bits(read_image(data)))

    cores = count_cores()
    return map_in_threads(compute, images, cores, 4 * cores)


def find_near_duplicates(hashes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the pairs of indices, the smaller first, of near duplicates.

    Args:
        hashes: of each image, from ``hash_picture``.
    """
    plain, mirrored = np.array(hashes, np.uint64).reshape(-1, 2).T
    found: set[tuple[int, int]] = set()
    for number in range(_CHUNKS):
        keys, others = (_take_chunk(values, number) for values in (plain, mirrored))
        for places, queries in _find_equal(keys, others):
            for start in range(0, len(queries), step := max(1, _PAIRS // len(places))):
                some = queries[start : start + step]
                near = np.bitwise_count(plain[places, None] ^ plain[some]) <= LIMIT
                near |= np.bitwise_count(plain[places, None] ^ mirrored[some]) <= LIMIT
                rows, columns = np.nonzero(near)
                found |= set(zip(places[rows].tolist(), some[columns].tolist(), strict=True))
    return sorted({(min(pair), max(pair)) for pair in found if pair[0] != pair[1]})


def describe_pairs(pairs: Sequence[tuple[ExaminedImage, ExaminedImage]]) -> str:
    """Return a line about the pairs of near duplicates."""
    crossing = sum(one.sample.class_name != other.sample.class_name for one, other in pairs)
    return f"near duplicates: {len(pairs)} pairs, {crossing} of them in two classes"


def write_pairs(path: Path, pairs: Sequence[tuple[ExaminedImage, ExaminedImage]], values: Range | None = None) -> None:
    """Write pairs of images, the first ones with pictures.

    Args:
        path: the file to write.
        pairs: of near duplicates.
        values: see ``stages.images.contract.Contract.range``.
    """
    rows = []
    for number, pair in enumerate(pairs):
        row: dict[str, Any] = {}
        for name, image in zip(("", "other_"), pair, strict=True):
            row |= {f"{name}source": image.sample.source, f"{name}class": image.sample.class_name}
            row[f"{name}picture"] = make_thumbnail(image.sample.data, values) if number < _PICTURES else None
        rows.append(row)
    kinds = {"source": pa.string(), "class": pa.string(), "picture": pa.binary()}
    schema = pa.schema([(f"{name}{column}", kind) for name in ("", "other_") for column, kind in kinds.items()])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def _take_chunk(hashes: np.ndarray, number: int) -> np.ndarray:
    return (hashes >> np.uint64(number * _WIDTH)) & np.uint64(2**_WIDTH - 1)


def _find_equal(keys: np.ndarray, others: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the indices of equal ``keys``, with the indices whose key or other key is the same."""
    both = np.concatenate([keys, others])
    order = np.argsort(both, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(both[order])) + 1):
        places = group[group < len(keys)]
        if len(group) > 1 and len(places):
            yield places, np.unique(group % len(keys))
