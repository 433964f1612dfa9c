"""Read data sets in MNIST's format: idx arrays of images and labels, for training and for test."""

from functools import partial
from pathlib import Path

from stages.base.errors import UserError
from stages.base.splits import Part
from stages.sources.data_set import DataSet, Sample, encode_png, normalize_name
from stages.sources.idx import read_idx

STEMS: dict[Part, str] = {"train": "train", "test": "t10k"}


def is_mnist(folder: Path) -> bool:
    """Return whether ``folder`` has idx files."""
    return any(folder.glob("*-idx[13]-ubyte*"))


def read_mnist(folder: Path) -> DataSet:
    """Read the four idx files in ``folder``, plain or gzipped; an optional classes.txt names the labels 0, 1, 2, ...

    Raises:
        UserError: a file is missing or broken, or the files contradict each other.
    """
    labels = {part: read_idx(_path(folder, f"{stem}-labels-idx1-ubyte")) for part, stem in STEMS.items()}
    images = {part: read_idx(_path(folder, f"{stem}-images-idx3-ubyte")) for part, stem in STEMS.items()}
    classes = _classes(folder, 1 + max(int(array.max(initial=0)) for array in labels.values()))
    samples = []
    for part, stem in STEMS.items():
        if images[part].ndim != 3 or len(images[part]) != len(labels[part]):
            raise UserError(
                f"{folder}: {stem}-images holds an array of shape {images[part].shape}, {stem}-labels "
                f"{len(labels[part])} labels; expected one image (rows, columns) for each label. Fetch the files again."
            )
        for number, (image, label) in enumerate(zip(images[part], labels[part], strict=True)):
            samples.append(Sample(f"{part}/{number:05d}", classes[label], part, partial(encode_png, image)))
    return DataSet(classes, samples)


def _classes(folder: Path, count: int) -> list[str]:
    names = folder / "classes.txt"
    if not names.is_file():
        return [str(label) for label in range(count)]
    classes = names.read_text(encoding="utf-8").split("\n")
    classes = [normalize_name(line.strip()) for line in classes if line.strip()]
    if len(classes) < count or len(set(classes)) < len(classes):
        raise UserError(f"{names}: expected {count} different class names, one per line; received {len(classes)}.")
    return classes


def _path(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise UserError(f"{folder}: expected {name}.gz (or {name}) beside the other idx files. Fetch the data set again.")
