"""A split in one Parquet file: encoded images with their labels, also readable by pandas and Hugging Face ``datasets``.

Thousands of small files make every DVC command slow. Images have the bytes of their original files, so the one loader
sees the user's data.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.base.files import refuse_damaged

# A row group is written and read as a whole: these limits bound its memory.
ROWS_PER_GROUP = 1000
BYTES_PER_GROUP = 16_000_000

_KEY = b"thaw"
_KINDS = {
    "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    "label": pa.int64(),
    "class": pa.string(),
    "source": pa.string(),
    "sha256": pa.string(),
    "width": pa.int64(),
    "height": pa.int64(),
    "pixels": pa.string(),
}


@dataclass(frozen=True)
class SplitRow:
    """One image of a split.

    Attributes:
        source: its path in the data set.
        class_name: its class.
        image: its file's bytes.
        width: in pixels, turned upright.
        height: in pixels, turned upright.
        pixels: the hash of its pixels, in hexadecimal digits.
        group: the name of its group; empty if images are not grouped.
    """

    source: str
    class_name: str
    image: bytes
    width: int
    height: int
    pixels: str = ""
    group: str = ""


def write_split(
    path: Path, rows: Iterable[SplitRow], classes: Sequence[str], reading: Mapping[str, Any], grouped: bool = False
) -> int:
    """Write a split file, a row group at a time; the same rows give the same bytes.

    Args:
        path: the file to write.
        rows: the images, consumed one at a time.
        classes: all class names, in the order of the network's outputs; a row's label is the index of its class.
        reading: how the images become pixels: "form", "polarity", "fit" and "range" of
            ``stages.images.contract.Contract``.
        grouped: whether to write the images' groups, too.

    Returns:
        The number of rows.
    """
    schema = _schema(classes, reading, grouped)
    label = {name: index for index, name in enumerate(classes)}
    count = 0
    # Images are already compressed and all different: only the class column gains from a dictionary.
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=["class"], write_statistics=False) as file:
        for group in _groups(rows):
            cells = [
                {
                    **{"width": row.width, "height": row.height, "source": row.source, "pixels": row.pixels},
                    **{"class": row.class_name, "label": label[row.class_name]},
                    **{"image": {"bytes": row.image, "path": row.source}},
                    "sha256": hashlib.sha256(row.image).hexdigest(),
                    "group": row.group,
                }
                for row in group
            ]
            file.write_table(pa.Table.from_pylist(cells, schema=schema), row_group_size=len(group))
            count += len(group)
    return count


def _groups(rows: Iterable[SplitRow]) -> Iterator[list[SplitRow]]:
    group: list[SplitRow] = []
    size = 0
    for row in rows:
        group.append(row)
        size += len(row.image)
        if len(group) >= ROWS_PER_GROUP or size >= BYTES_PER_GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def _schema(classes: Sequence[str], reading: Mapping[str, Any], grouped: bool) -> pa.Schema:
    kinds = {**_KINDS, "group": pa.string()} if grouped else _KINDS
    features: dict[str, Any] = {name: {"dtype": str(kind), "_type": "Value"} for name, kind in kinds.items()}
    features |= {"image": {"_type": "Image"}, "label": {"names": list(classes), "_type": "ClassLabel"}}
    metadata = {
        "huggingface": json.dumps({"info": {"features": features}}),  # what `datasets` reads column types from
        _KEY.decode(): json.dumps({"classes": list(classes), "reading": dict(reading)}),
    }
    return pa.schema(kinds, metadata=metadata)


class SplitFile:
    """A split file for reading. Labels and names are read at once; images are streamed.

    Args:
        path: the file.

    Raises:
        UserError: the file is missing or damaged, or not a split file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with refuse_damaged(path, "a split file"):
            self._file = pq.ParquetFile(path)
            metadata = self._file.schema_arrow.metadata or {}
            if _KEY not in metadata:
                raise ValueError("a file that split did not write")
            content = json.loads(metadata[_KEY])
            self.classes: list[str] = content["classes"]
            self.reading: dict[str, Any] = content["reading"]

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def labels(self) -> np.ndarray:
        """Return the label of each image, int64 of shape (images,)."""
        return np.asarray(self._column("label"), dtype=np.int64)

    def sources(self) -> list[str]:
        """Return the path of each image in its data set."""
        return [str(source) for source in self._column("source").to_pylist()]

    def groups(self) -> np.ndarray:
        """Return for each image the index of the last one in its group, int64 (images,); without groups, its own."""
        if "group" not in self._file.schema_arrow.names:
            return np.arange(len(self))
        names = self._column("group").to_pylist()
        last = {name: index for index, name in enumerate(names)}
        return np.array([last[name] for name in names], dtype=np.int64)

    def pixels(self) -> list[str]:
        """Return the hash of each image's pixels, in hexadecimal digits; it does not depend on the file format."""
        return [str(pixels) for pixels in self._column("pixels").to_pylist()]

    def hashes(self) -> list[str]:
        """Return the SHA-256 of each image's file."""
        return [str(sha256) for sha256 in self._column("sha256").to_pylist()]

    def digest(self) -> str:
        """Return a hash of the images' bytes, their labels and order, without reading the images."""
        found = hashlib.sha256(self.labels().tobytes())
        for known in self.hashes():
            found.update(bytes.fromhex(known))
        return found.hexdigest()

    def images(self, first: int = 0, last: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of each image's file, in the order of the rows, with one row group in memory at a time.

        Args:
            first: the row to begin with.
            last: the row to end before; by default all rows are read.
        """
        last, end = len(self) if last is None else last, 0
        for group in range(self._file.num_row_groups):
            begin, end = end, end + self._file.metadata.row_group(group).num_rows
            if begin < last and first < end:
                yield from self._read_group(group)[max(first - begin, 0) : last - begin]

    def _read_group(self, group: int) -> list[bytes]:
        with refuse_damaged(self.path, "a split file"):
            rows = self._file.read_row_group(group, columns=["image.bytes", "sha256"])
            images: list[bytes] = rows.column("image").combine_chunks().field("bytes").to_pylist()
            for image, known in zip(images, rows.column("sha256").to_pylist(), strict=True):
                if hashlib.sha256(image).hexdigest() != known:
                    raise ValueError("an image with other bytes than were packed")
        return images

    def _column(self, name: str) -> Any:
        with refuse_damaged(self.path, "a split file"):
            return self._file.read(columns=[name]).column(name)
