"""A split file: what goes in comes out, to this project and to others."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages.base.errors import UserError
from stages.images import split_file
from stages.images.split_file import SplitFile, SplitRow, write_split

CLASSES = ["zebra", "horse"]
READING = {"form": "photo", "polarity": "light_on_dark", "fit": "crop"}


def rows(count: int) -> list[SplitRow]:
    made = []
    for number in range(count):
        buffer = io.BytesIO()
        Image.new("L", (3, 2), number % 256).save(buffer, "PNG")
        name = CLASSES[number % 3 == 0]
        made.append(SplitRow(f"{name}/ñ{number}.png", name, buffer.getvalue(), 3, 2))
    return made


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path, written = tmp_path / "a.parquet", rows(50)
    assert write_split(path, iter(written), CLASSES, READING) == 50
    read = SplitFile(path)
    assert (len(read), read.classes, read.reading) == (50, CLASSES, READING)
    assert list(read.images()) == [row.image for row in written]
    assert read.sources() == [row.source for row in written]
    labels = read.labels()
    assert labels.dtype == np.int64
    assert [CLASSES[label] for label in labels] == [row.class_name for row in written]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_split(tmp_path / name, rows(20), CLASSES, READING)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_rows(tmp_path: Path) -> None:
    assert write_split(tmp_path / "a.parquet", [], CLASSES, READING) == 0
    read = SplitFile(tmp_path / "a.parquet")
    assert (len(read), list(read.images()), read.labels().tolist(), read.classes) == (0, [], [], CLASSES)


def test_rows_are_taken_and_given_a_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_file, "ROWS_PER_GROUP", 8)
    monkeypatch.setattr(split_file, "BYTES_PER_GROUP", 400)  # five of these images
    written = rows(33)
    write_split(tmp_path / "a.parquet", written, CLASSES, READING)
    groups = pq.ParquetFile(tmp_path / "a.parquet").metadata
    sizes = [groups.row_group(number).num_rows for number in range(groups.num_row_groups)]
    assert sum(sizes) == 33
    assert max(sizes) <= 8
    assert len(sizes) > 33 / 8 + 1
    assert list(SplitFile(tmp_path / "a.parquet").images()) == [row.image for row in written]


def test_pandas_reads_it(tmp_path: Path) -> None:
    written = rows(4)
    write_split(tmp_path / "a.parquet", written, CLASSES, READING)
    table = pd.read_parquet(tmp_path / "a.parquet")
    assert list(table) == ["image", "label", "class", "source", "sha256", "width", "height", "pixels"]
    assert table["class"].tolist() == [row.class_name for row in written]
    assert table["sha256"][1] == hashlib.sha256(written[1].image).hexdigest()
    assert (table["width"][0], table["height"][0]) == (3, 2)
    assert Image.open(io.BytesIO(table["image"][2]["bytes"])).size == (3, 2)


def test_hugging_face_datasets_finds_an_image_and_a_class_label(tmp_path: Path) -> None:
    """`datasets` takes column types from this metadata; its Image feature is a struct of bytes and path."""
    write_split(tmp_path / "a.parquet", rows(2), CLASSES, READING)
    schema = pq.read_schema(tmp_path / "a.parquet")
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"names": CLASSES, "_type": "ClassLabel"}
    assert features["class"] == {"dtype": "string", "_type": "Value"}
    assert list(features) == schema.names
    assert [field.name for field in schema.field("image").type] == ["bytes", "path"]


def test_another_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro"):
        SplitFile(tmp_path / "none.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(UserError, match="expected a split file, received: a file that split did not write"):
        SplitFile(tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(UserError, match="expected a split file, received: Parquet magic bytes not found"):
        SplitFile(tmp_path / "text.parquet")
