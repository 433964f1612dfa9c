"""Read data sets in Parquet files with encoded images, Hugging Face's format.

Each row has the bytes of an image file, alone or in {bytes, path}, and a label: a name, or a number whose name may be
in the file's metadata (ClassLabel of Hugging Face's datasets).
"""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.base.errors import UserError, summarize
from stages.base.terminal import show_progress
from stages.sources.archives import UnpackedStore, make_seekable, max_unpacked_size
from stages.sources.columns import ONE_CLASS, Columns, pick_columns, refuse_several, require_group
from stages.sources.data_set import DataSet, Reject, Sample, normalize_name
from stages.sources.labels import divide_samples
from stages.sources.tree import File

SUFFIX = ".parquet"
ROWS = 100  # read at a time


def read_parquet(files: Mapping[str, File], asked: Columns, parts: Mapping[str, str] | str, where: str) -> DataSet:
    """Read a data set from Parquet files. Rows cannot be read one by one, so images go to a temporary file.

    Args:
        files: by their paths in the data set. Without a column of splits, their names or folders may tell the part.
        asked: the column names from params.yaml.
        parts: see ``stages.sources.labels.assign_parts``.
        where: the data set's name in messages.

    Raises:
        UserError: a file is damaged, or has no images, no labels, or several labels per image.
    """
    samples, left_out = [], list[Reject]()
    places: dict[str, tuple[str, str]] = {}
    for path, file in files.items():
        name = f"{where}/{path}" if len(files) > 1 else where
        try:
            with make_seekable(file, name).open() as opened:
                found, missing = _read_rows(pq.ParquetFile(opened), path.removesuffix(SUFFIX), asked, name)
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            reason = summarize(error)
            raise UserError(
                f"{name}: expected a Parquet file, received another file or a part of one: {reason}."
            ) from None
        samples += [sample for sample, _ in found]
        # The file name may tell the part: train-00000-of-00002.parquet.
        places |= {sample.source: (f"{path}/{sample.source}", split) for sample, split in found}
        left_out += missing
    refuse_several({sample.class_name for sample in samples}, where)
    return divide_samples(samples, places, parts, where, left_out)


def _read_rows(
    file: pq.ParquetFile, stem: str, asked: Columns, name: str
) -> tuple[list[tuple[Sample, str]], list[Reject]]:
    """Return the images of a file, each with its cell in the column of splits, and the rows that cannot be used."""
    schema = file.schema_arrow
    pictures = [field.name for field in schema if _holds_bytes(field.type)]
    if len(pictures) != 1:
        raise UserError(
            f"{name}: expected one column of image bytes, found {', '.join(pictures) or 'none'} among "
            f"{', '.join(schema.names)}. For a table of image paths, set split.labels to a .csv file."
        )
    held = [column for column in schema.names if column not in pictures]
    picked = pick_columns(held, asked, name, ("label", "split"))
    label = picked["label"] or ""
    if pa.types.is_nested(schema.field(label).type):
        raise UserError(f"{name}: column {label} holds several labels for each image. {ONE_CLASS}.")
    names = _class_names(schema.metadata or {}, label)
    size = sum(file.metadata.row_group(group).total_byte_size for group in range(file.metadata.num_row_groups))
    store = UnpackedStore(name, max_unpacked_size(size))
    samples, left_out = [], []
    columns = [*pictures, *{column for column in picked.values() if column}]
    batches = file.iter_batches(ROWS, columns=columns)
    row = 0
    for batch in show_progress(batches, f"unpacking {name}", -(-file.metadata.num_rows // ROWS), f"x {ROWS} images"):
        for cells in batch.to_pylist():
            picture, cell = cells[pictures[0]], cells[label]
            data = picture["bytes"] if isinstance(picture, dict) else picture
            group, split = (cells[picked[role]] if picked[role] else "" for role in ("group", "split"))
            source = f"{stem}/{row:06d}"
            row += 1
            class_name = _class_name(cell, names)
            if not data or not class_name:
                reason = "no label" if data else "no image data"
                left_out.append(Reject(source, class_name, reason, "unlabeled"))
                continue
            require_group(group, asked, name, row - 1)
            stored = store.add(data)
            samples.append((Sample(source, class_name, None, stored.read, str(group)), str(split or "")))
    return samples, left_out


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_bytes(kind.field(place).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _class_names(metadata: Mapping[bytes, bytes], label: str) -> list[str]:
    """Return the names of the labels 0, 1, 2, … from Hugging Face's metadata; none if there are none."""
    features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return [str(name) for name in features.get(label, {}).get("names") or []]


def _class_name(cell: Any, names: list[str]) -> str:
    """Return the class in a cell; an empty string if there is none, -1 in Hugging Face's test files."""
    if cell is None or (names and cell == -1):
        return ""
    if names and isinstance(cell, int):
        return normalize_name(names[cell]) if 0 <= cell < len(names) else ""
    return normalize_name(str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell).strip())
