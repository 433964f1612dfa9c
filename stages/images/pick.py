"""Pick single images out of a split file."""

from collections.abc import Collection
from pathlib import Path

import pyarrow.parquet as pq

from stages.base.files import refuse_damaged
from stages.images.split_file import SplitFile
from stages.images.thumbnail import SIDE, make_thumbnail


def pick_thumbnails(path: Path, hashes: Collection[str], side: int = SIDE) -> dict[str, bytes]:
    """Return small pictures of some images, by the hash of their files; only the row groups that hold them are read.

    Args:
        path: the split file.
        hashes: SHA-256 of the images' files; those that the split does not hold are left out.
        side: of the pictures, at most, in pixels.
    """
    values = SplitFile(path).reading.get("range")
    found: dict[str, bytes] = {}
    with refuse_damaged(path, "a split file"), pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            known = file.read_row_group(group, columns=["sha256"])["sha256"].to_pylist()
            if places := [place for place, sha256 in enumerate(known) if sha256 in hashes]:
                images = file.read_row_group(group, columns=["image.bytes"])["image"].combine_chunks().field("bytes")
                found |= {known[place]: make_thumbnail(images[place].as_py(), values, side) for place in places}
    return found
