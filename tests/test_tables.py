"""Labels from tables, Parquet files and arrays: read as they are meant, and refused where they say something else."""

import csv
import io
import json
import pickle
import shutil
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.base.errors import UserError
from stages.sources.data_set import DataSet
from stages.sources.read import read_data_set
from stages.split import main
from stages.splitting.source import read_source
from tests.helpers.copies import set_params, split_section
from tests.test_parts import files, picture, write

Rows = list[tuple[Any, ...]]


def table(rows: Rows, separator: str = ",") -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=separator, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()


def read(source: Path, labels: Any = "labels.csv", parts: Any = "auto", group: Any = "none") -> DataSet:
    params = split_section(source, labels=labels, parts=parts, group=group)
    return read_source(params, Path("data/tables"))


def seen(found: DataSet) -> list[tuple[str, str, str | None]]:
    return [(sample.source, sample.class_name, sample.part) for sample in found.samples]


def why(found: DataSet) -> dict[str, str]:
    return {entry.source: entry.reason for entry in found.left_out}


CLASSES = ["cat", "dog", "cat", "dog"]
PLAIN: dict[str, Rows] = {
    "paths": [("file", "label"), *((f"images/{n}.png", CLASSES[n]) for n in range(4))],
    "names": [("filename", "class"), *((f"{n}.png", CLASSES[n]) for n in range(4))],
    "without suffix": [("id", "label"), *((n, CLASSES[n]) for n in range(4))],
    "of another machine": [("Path", "ClassId"), *((f"C:\\x\\images\\{n}.png", CLASSES[n]) for n in range(4))],
    "absolute": [("image_path", "category"), *((f"/kaggle/input/x/images/{n}.png", CLASSES[n]) for n in range(4))],
    "with others": [("file_name", "age", "Label", "note"), *((f"{n}.png", n, CLASSES[n], "a,b") for n in range(4))],
    "spaces": [(" file", "label "), *((f" {n}.png", f"{CLASSES[n]} ") for n in range(4))],
}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("layout", PLAIN)
def test_files_are_found_as_tables_name_them(tmp_path: Path, layout: str, separator: str) -> None:
    write(tmp_path, {"labels.csv": b"\xef\xbb\xbf" + table(PLAIN[layout], separator), **files("images", count=4)})
    found = read(tmp_path)
    assert seen(found) == [(f"images/{n}.png", CLASSES[n], None) for n in range(4)]
    assert found.samples[2].data == (tmp_path / "images/2.png").read_bytes()
    assert not found.left_out


def test_labels_stay_the_text_they_are(tmp_path: Path) -> None:
    names = ["NA", "001", "1", "1.0", "true", "null", "-", "2024-01-01", "1e3", "cafe\u0301", "inf", "Müller & Söhne"]
    rows = [("file", "label"), *((f"{n}.png", name) for n, name in enumerate(names))]
    write(tmp_path, {"labels.csv": table(rows), **files("images", count=len(names))})
    assert [sample.class_name for sample in sorted(read(tmp_path).samples, key=lambda s: int(s.source[7:-4]))] == [
        *names[:9], "café", *names[10:]
    ]  # fmt: skip


def test_nothing_vanishes(tmp_path: Path) -> None:
    rows: Rows = [("file", "label"), *((f"a/{n}.png", CLASSES[n]) for n in range(4)), ("a/9.png", "cat"), ("", "cat")]
    rows += [("a/4.png", ""), ("a/0.png", "cat"), ("2.png", "dog"), ("a/1.png", "cat")]
    content = {"labels.csv": table(rows), **files("a", count=6), **files("b", count=3), **files("c/d", count=2)}
    write(tmp_path, content | {"stray.png": picture(2), "a/README.md": b"", "b/7.jpg": picture(1)})
    found = read(tmp_path)
    assert [name for name, _, _ in seen(found)] == ["a/0.png", "a/2.png", "a/3.png"]
    assert why(found) == {
        "labels.csv, row 6: a/9.png": "file not found",
        "labels.csv, row 7: ": "no file name",
        "labels.csv, row 8: a/4.png": "no label",
        "labels.csv, row 9: a/0.png": "repeats row 2 (cat)",
        "labels.csv, row 3: a/1.png": "conflicting labels: dog in row 3, another one in other rows",
        "labels.csv, row 11: a/1.png": "conflicting labels: dog in row 3, another one in other rows",
        "labels.csv, row 10: 2.png": "ambiguous: 2 files match (a/2.png, b/2.png); give the full path",
        "stray.png": "not listed in labels.csv",
        "a/4.png": "not listed in labels.csv",
        "a/5.png": "not listed in labels.csv",
        "b/": "none of its 4 images is listed in labels.csv",
        "c/": "none of its 2 images is listed in labels.csv",
    }


def test_a_column_divides_the_images(tmp_path: Path) -> None:
    splits = ["Train", "train", "TEST", "validation"]
    rows = [("file", "label", "split"), *((f"{n}.png", CLASSES[n], splits[n]) for n in range(4))]
    write(tmp_path, {"labels.csv": table(rows), **files("images", count=4)})
    assert [part for _, _, part in seen(read(tmp_path))] == ["train", "train", "test", "val"]
    found = read(tmp_path, parts={"train": "Train", "test": "TEST"})
    assert [(name, part) for name, _, part in seen(found)] == [("images/0.png", "train"), ("images/2.png", "test")]
    assert why(found) == dict.fromkeys(("images/1.png", "images/3.png"), "not in any of split.parts")
    assert list(why(found)) == ["images/1.png", "images/3.png"], "the same order in every process"
    assert [part for _, _, part in seen(read(tmp_path, parts={"train": "."}))] == ["train"] * 4
    with pytest.raises(UserError, match=r"split.parts.train: no row of labels.csv is of x"):
        read(tmp_path, parts={"train": "x"})
    (tmp_path / "labels.csv").write_bytes(table([*rows, ("0.png", "cat", "Public")]).replace(b"Train", b"Private"))
    with pytest.raises(UserError, match=r"found split 'Private' for images/0.png. Set split.parts"):
        read(tmp_path)


def test_folders_divide_the_images_where_no_column_does(tmp_path: Path) -> None:
    rows = [("file", "label"), *((f"{part}/{n}.png", CLASSES[n]) for part in ("train", "test") for n in range(4))]
    write(tmp_path, {"labels.csv": table(rows), **files("train", "test", count=4)})
    assert Counter(part for _, _, part in seen(read(tmp_path))) == {"train": 4, "test": 4}
    assert {part for _, _, part in seen(read(tmp_path, parts={"train": "."}))} == {"train"}
    only = [row for row in rows if not row[0].startswith("test")]
    (tmp_path / "labels.csv").write_bytes(table(only))
    found = read(tmp_path)
    assert {part for _, _, part in seen(found)} == {None}, "one folder, called train, is no division"
    assert why(found) == {"test/": "none of its 4 images is listed in labels.csv"}


def test_a_table_in_each_part(tmp_path: Path) -> None:
    rows = [("file_name", "label"), *((f"{n}.png", CLASSES[n]) for n in range(4))]
    content = files("data/train", "data/test", count=4)
    write(tmp_path / "set", content | {f"data/{part}/metadata.csv": table(rows) for part in ("train", "test")})
    shutil.make_archive(str(tmp_path / "set"), "zip", tmp_path / "set")
    for source in (tmp_path / "set", tmp_path / "set.zip"):
        assert seen(read(source, "metadata.csv")) == sorted(
            (f"data/{part}/{n}.png", CLASSES[n], part) for part in ("train", "test") for n in range(4)
        )
    shutil.copytree(tmp_path / "set/data/train", tmp_path / "set/data/more")
    with pytest.raises(UserError, match=r"holds several tables metadata.csv: .*Name one by its path"):
        read(tmp_path / "set", "metadata.csv")


def test_a_table_beside_an_archive_of_the_images(tmp_path: Path) -> None:
    source = write(tmp_path / "set", {"labels.csv": table([("id", "breed"), ("0", "pug"), ("1", "corgi")])})
    with zipfile.ZipFile(source / "train.zip", "w") as archive:
        for name, data in files("train", count=2).items():
            archive.writestr(name, data)
    found = read(source, {"table": "labels.csv", "label": "breed"})
    assert seen(found) == [("train/0.png", "pug", None), ("train/1.png", "corgi", None)]


def test_where_tables_may_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = table(PLAIN["names"])
    write(tmp_path, {"data/tables/x.csv": rows, "data/own/x.csv": rows, **files("data/own/x", count=4)})
    source = Path("data/own/x")
    assert len(read(source, "data/tables/x.csv").samples) == 4
    with pytest.raises(UserError, match=r"data/own/x.csv is outside data/own/x, where DVC .* or to data/tables/"):
        read(source, "data/own/x.csv")
    shutil.move("data/own/x.csv", source)
    assert len(read(source, "data/own/x/x.csv").samples) == len(read(source, "x.csv").samples) == 4
    with pytest.raises(UserError, match=r"there is no y.csv in data/own/x; it holds x.csv"):
        read(source, "y.csv")
    with pytest.raises(UserError, match=r"there is no data/tables/y.csv"):
        read(source, "data/tables/y.csv")
    with pytest.raises(
        UserError, match=r"4 images, but no class folder. Where x.csv names the classes, set split.labels"
    ):
        read(source, "none")


REFUSED: dict[str, tuple[Rows, str]] = {
    "no label": ([("file", "breed"), ("0.png", "pug")], r"for the label of each image, found none among file, breed"),
    "no file": ([("where", "label"), ("0.png", "pug")], r"for the file of each image, found none among where, label"),
    "two files": ([("file", "id", "label"), ("0.png", "1", "pug")], r"several columns that may hold it: file, id"),
    "no names": ([("0.png", "cat"), ("1.png", "dog")], r"found none among 0.png, cat"),
    "boxes": ([("file", "label", "xmin"), ("0.png", "pug", 3)], r"column xmin contains boxes"),
    "masks": ([("image_id", "EncodedPixels", "label"), ("0.png", "1 2", "x")], r"EncodedPixels contains masks"),
    "one-hot": ([("file", "cat", "dog"), ("0.png", 1, 0), ("1.png", 0, 1)], r"0 and 1 for each class \(cat, dog\)"),
    "bars": ([("file", "label"), ("0.png", "cat|dog"), ("1.png", "cat")], r"label 'cat\|dog' names several"),
    "words": (
        [("file", "labels"), ("0.png", "scab"), ("1.png", "rust"), ("2.png", "scab rust")],
        r"label 'scab rust' names several classes",
    ),
    "lists": ([("file", "label"), ("0.png", "['cat', 'dog']"), ("1.png", "cat")], r"names several classes"),
    "rows": (
        [("file", "label"), *((f"{n}.png", name) for n in range(4) for name in ("cat", "dog"))],
        r"4 of 4 images have several labels, such as images/0.png \(cat, dog\)",
    ),
    "nothing": ([], r"expected a table whose first line names the columns"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_table_of_something_else_is_refused(tmp_path: Path, kind: str) -> None:
    rows, message = REFUSED[kind]
    write(tmp_path, {"labels.csv": table(rows), **files("images", count=4)})
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_a_column_of_boxes_is_ignored_where_the_labels_are_named(tmp_path: Path) -> None:
    write(tmp_path, {"labels.csv": table([("file", "label", "xmin"), ("0.png", "pug", 3)]), **files("a", count=1)})
    assert len(read(tmp_path, {"table": "labels.csv", "label": "label"}).samples) == 1


def test_a_damaged_table_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, {"labels.csv": b"file,label\n\xff\xfe.png,a\n", **files("images")})
    with pytest.raises(UserError, match="expected a table in UTF-8"):
        read(tmp_path)
    (tmp_path / "labels.csv").write_bytes(b'file,label\n0.png,a\n"1.png,b\n')
    with pytest.raises(UserError, match="expected a table"):
        read(tmp_path)


def test_a_table_that_is_not_used_is_named(tmp_path: Path) -> None:
    rows = table(PLAIN["names"])
    with pytest.raises(
        UserError, match=r"holds one class folder. Where a.csv names the classes, set split.labels: a.csv"
    ):
        read(write(tmp_path / "one", {"a.csv": rows, **files("images")}), "none")
    found = read(
        write(tmp_path / "two", {"train/a.tsv": rows, **files("train/a", "train/b", "test/a", "test/b")}), "none"
    )
    assert why(found)["train/a.tsv"].endswith("split.labels: train/a.tsv to take the classes from it")


def test_groups_come_from_a_column(tmp_path: Path) -> None:
    rows = [("file", "label", "group", "patient"), *((f"{n}.png", CLASSES[n], "x", f"p{n // 2}") for n in range(4))]
    write(tmp_path, {"labels.csv": table(rows), **files("images", count=4)})
    found = read(tmp_path, group={"column": "patient"})
    assert [sample.group for sample in found.samples] == ["p0", "p0", "p1", "p1"]
    assert not found.notes
    assert "its column group is not used" in read(tmp_path).notes[0]
    with pytest.raises(UserError, match=r"split.group.column: there is no column doctor in labels.csv"):
        read(tmp_path, group={"column": "doctor"})
    (tmp_path / "labels.csv").write_bytes(table(rows).replace(b"p1", b""))
    with pytest.raises(UserError, match="row 4 has no patient"):
        read(tmp_path, group={"column": "patient"})
    with pytest.raises(UserError, match=r"split.labels, split.group: .* has no columns"):
        read(write(tmp_path / "folders", files("cat", "dog")), "none", group={"column": "patient"})


def parquet(path: Path, columns: dict[str, Any], names: list[str] | None = None) -> None:
    found = pa.table(columns)
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        found = found.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(found, path, row_group_size=3)


@pytest.mark.parametrize("nested", [True, False])
def test_parquet_files_hold_images_and_labels(tmp_path: Path, nested: bool) -> None:
    for part, count in (("train", 5), ("test", 3)):
        data = [picture(n) for n in range(count)]
        images = [{"bytes": one, "path": "x.png"} for one in data] if nested else data
        labels = [n % 2 for n in range(count)] if part == "train" else [-1, 0, 1]
        parquet(tmp_path / f"data/{part}-00000-of-00001.parquet", {"image": images, "label": labels}, ["cat", "dog"])
    (tmp_path / "README.md").write_text("x")
    found = read(tmp_path, "none")
    train = "data/train-00000-of-00001"
    assert seen(found)[2:4] == [(f"{train}/000000", "cat", "train"), (f"{train}/000001", "dog", "train")]
    assert Counter(part for _, _, part in seen(found)) == {"train": 5, "test": 2}
    assert [sample.data for sample in found.samples[2:]] == [picture(n) for n in range(5)]
    assert why(found) == {"data/test-00000-of-00001/000000": "no label"}
    assert {part for _, _, part in seen(read(tmp_path / f"{train}.parquet", "none"))} == {None}


def test_columns_of_parquet_files(tmp_path: Path) -> None:
    images = [picture(n) for n in range(4)]
    columns = {"img": images, "coarse_label": [0, 0, 1, 1], "fine_label": ["a", "b", "NA", None]}
    parquet(tmp_path / "x.parquet", columns | {"split": ["train"] * 3 + ["test"], "patient": [1, 2, 3, 4]})
    with pytest.raises(UserError, match=r"found none among coarse_label, .* Name it: split.labels: \{label: COLUMN\}"):
        read(tmp_path / "x.parquet", "none")
    found = read(tmp_path, {"label": "fine_label"}, group={"column": "patient"})
    assert [(name, sample.group) for (_, name, _), sample in zip(seen(found), found.samples, strict=True)] == [
        ("a", "1"), ("b", "2"), ("NA", "3")
    ]  # fmt: skip
    assert why(found) == {"x/000003": "no label"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"path": ["a.png"], "label": [1]}, "expected one column of image bytes, found none among path, label"),
        ({"a": [b"1"], "b": [b"2"], "label": [1]}, "expected one column of image bytes, found a, b"),
        ({"image": [b"1"], "label": [[1, 2]]}, "column label holds several labels for each image"),
        ({"image": [b"1"], "label": [1], "objects": [[1]]}, "column objects contains boxes"),
    ],
)
def test_parquet_files_of_something_else_are_refused(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    parquet(tmp_path / "x.parquet", columns)
    with pytest.raises(UserError, match=message):
        read(tmp_path, "none")
    data = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="expected a Parquet file, received another file or a part of one"):
        read(tmp_path, "none")


NUMPY: dict[str, tuple[str, str]] = {
    "keras": ("x_{}", "y_{}"), "medmnist": ("{}_images", "{}_labels"), "plain": ("{}_image", "label_{}")
}  # fmt: skip


@pytest.mark.parametrize("names", NUMPY)
def test_arrays_hold_images_and_labels(tmp_path: Path, names: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (8, 5, 4, 3), np.uint8)
    labels = np.array([0, 1, 10, 2] * 2, np.uint8)
    image, label = NUMPY[names]
    held = {image.format(part): pixels for part in ("train", "test")}
    held |= {label.format(part): labels.reshape((-1, 1) if names == "medmnist" else -1) for part in ("train", "test")}
    np.savez_compressed(tmp_path / "set.npz", **held)  # type: ignore[arg-type]
    for source in (tmp_path, tmp_path / "set.npz"):
        found = read(source, "none")
        assert found.classes == ["0", "1", "2", "10"]
        assert seen(found)[2] == ("train/00002", "10", "train")
        assert Counter(part for _, _, part in seen(found)) == {"train": 8, "test": 8}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"arr_0": np.zeros(3)}, r"expected arrays x_train and y_train .*; found arr_0"),
        ({"x_train": np.zeros((2, 4, 4), np.uint8)}, r"expected arrays x_train and y_train .*; found x_train"),
        ({"x_train": np.zeros((2, 4, 4)), "y_train": np.zeros(2, int)}, r"expected images as uint8 .* float64"),
        ({"x_train": np.zeros((2, 4, 4), np.uint8), "y_train": np.zeros((2, 3), int)}, r"name several classes"),
        ({"x_train": np.zeros((2, 4, 4), np.uint8), "y_train": np.zeros(3, int)}, r"one whole number or name for each"),
        ({"x_train": np.array([{}], object), "y_train": np.zeros(1, int)}, r"holds pickled objects, which can run any"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "set.npz", "none")


def pickled() -> bytes:
    return pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1]}, protocol=2)


FOREIGN: dict[str, tuple[list[str], str]] = {
    "cifar-10-python": (
        ["c/data_batch_1", "c/test_batch", "c/batches.meta", "c/readme.html"],
        r"pickled.*binary version",
    ),
    "pickle": (["train.pkl", "test.pkl"], r"train.pkl is pickled|test.pkl is pickled"),
    "torch": (["training.pt"], "is pickled"),
    "MATLAB": (["train_32x32.mat", "test_32x32.mat"], "is a MATLAB file"),
    "HDF5": (["signs.h5"], "is an HDF5 file"),
    "TFRecord": (["x.tfrecord-00000-of-00002"], "is a TFRecord file"),
    "VOC": (["JPEGImages", "Annotations/1.xml", "SegmentationClass"], r"JPEGImages/ next to Annotations/"),
    "pets": (["images", "annotations/trimaps"], r"images/ next to annotations/"),
    "masks": (["set/Images", "set/Masks"], r"set holds boxes, masks .* \(Images/ next to Masks/\)"),
    "YOLO": (["train/images", "train/labels/1.txt", "valid/images", "data.yaml"], r"images/ next to labels/"),
    "COCO": (
        ["train2017", "val2017", "annotations/instances_train2017.json"],
        r"instances_train2017.json, the format of COCO",
    ),
    "Roboflow": (["train", "train/_annotations.coco.json", "valid"], r"_annotations.coco.json, the format of COCO"),
    "several": (["train", "train/_classes.csv", "valid"], r"_classes.csv, the format of Roboflow"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_data_of_another_kind_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    names, message = FOREIGN[kind]
    plain = [name for name in names if "/" not in name or "." not in name]
    content = files(*(name for name in plain if "." not in name))
    content |= {name: pickled() for name in names if name not in plain or "." in name}
    if kind == "cifar-10-python":
        content = {name: pickled() for name in names}
    write(tmp_path / "x", content)
    with pytest.raises(UserError, match=message):
        read_data_set(tmp_path / "x")


def test_classes_called_like_annotations_stay_classes(tmp_path: Path) -> None:
    assert read_data_set(write(tmp_path, files("labels", "stamps", "masks"))).classes == ["labels", "masks", "stamps"]


def test_split_takes_classes_and_groups_from_a_table(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [("file", "label", "patient"), *((f"{n}.png", CLASSES[n % 2], n // 4) for n in range(40)), ("99", "cat", 9)]
    write(tmp_path, {"data/tables/own.csv": table(rows), **files("data/own/x", count=42)})
    shutil.copy(project / "recipes" / "default.yaml", tmp_path / "params.yaml")
    values = {"source": "data/own/x", "labels": "data/tables/own.csv", "train": "rest", "val": 0.2, "test": 0.3}
    set_params(tmp_path, {"split": {**values, "group": {"column": "patient"}, "form": "photo"}})
    main()
    assert "left out: 0 unreadable, 1 unusable table rows, 2 not in the table" in capsys.readouterr().out
    left_out = (tmp_path / "data/split/rejects.csv").read_text().splitlines()
    assert '"data/tables/own.csv, row 42: 99",cat,file not found' in left_out
    assert "41.png,,not listed in data/tables/own.csv" in left_out
    patients = {}
    for split in ("train", "val", "test"):
        sources = pq.read_table(tmp_path / f"data/split/{split}.parquet")["source"].to_pylist()
        patients[split] = {int(source.removesuffix(".png")) // 4 for source in sources}
    assert sum(map(len, patients.values())) == len(set().union(*patients.values())) == 10
