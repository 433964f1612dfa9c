"""What a data set folder holds: images with their classes, from class folders or from idx files as MNIST's.

SET/CLASS/*.jpg|png|...                    class folders; images may lie in folders below, too
SET/train/CLASS/..., SET/test/CLASS/...    class folders with a published division
SET/train-images-idx3-ubyte.gz, ...        the four idx files, under their published names, packed or not
"""

import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from stages.base.stage import UserError
from stages.sources.idx import read_idx

Part = Literal["train", "test"]

IDX_STEMS: dict[Part, str] = {"train": "train", "test": "t10k"}
IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".heic", ".ppm", ".pgm")
)
SYSTEM_FILES = frozenset(("thumbs.db", "desktop.ini", "__macosx"))  # what Windows and macOS leave in folders unasked
PARTS = frozenset(("train", "test", "val", "valid", "validation"))

LAYOUT = "class folders (NAME/CLASS/*.jpg|png|...) or the four idx files of MNIST (train-images-idx3-ubyte.gz, ...)"


@dataclass(frozen=True)
class Sample:
    """One image of a data set. It is light: its bytes are read when they are asked for.

    Attributes:
        source: path inside the data set, such as "4/img_3.jpg" or "train/12345".
        class_name: what it shows.
        part: the side of the published division it lies on, None where there is no such division.
    """

    source: str
    class_name: str
    part: Part | None
    read: Callable[[], bytes]

    @property
    def data(self) -> bytes:
        """The bytes of the image file; may raise OSError."""
        return self.read()


def samples(folder: Path) -> Iterator[Sample]:
    """Go through the images of a data set, always in the same order.

    Raises:
        UserError: the folder is no data set; the message says what one looks like.
    """
    if _is_idx(folder):
        yield from _idx_samples(folder)
        return
    for part, root in _parts(folder).items():
        for name in _natural(_visible(root, folders=True)):
            for path in _files_below(root / name):
                yield Sample(_text(path.relative_to(folder).as_posix()), _text(name), part, path.read_bytes)


def class_names(folder: Path) -> list[str]:
    """The classes of a data set: folder names in natural order ("2" before "10"), or idx labels in their own order."""
    if not _is_idx(folder):
        return _natural({_text(name) for root in _parts(folder).values() for name in _visible(root, folders=True)})
    count = 1 + max(int(labels.max(initial=0)) for labels in (_labels(folder, part) for part in IDX_STEMS))
    names = folder / "classes.txt"
    if not names.is_file():
        return [str(label) for label in range(count)]
    classes = names.read_text(encoding="utf-8").split("\n")
    classes = [line.strip() for line in classes if line.strip()]
    if len(classes) < count or len(set(classes)) < len(classes):
        raise UserError(f"{names}: expected {count} different class names, one a line; received {len(classes)}.")
    return classes


def _idx_samples(folder: Path) -> Iterator[Sample]:
    classes = class_names(folder)
    for part, stem in IDX_STEMS.items():
        images, labels = read_idx(_idx_path(folder, f"{stem}-images-idx3-ubyte")), _labels(folder, part)
        if images.ndim != 3 or len(images) != len(labels):
            raise UserError(
                f"{folder}: {stem}-images holds an array of shape {images.shape}, {stem}-labels {len(labels)} labels; "
                "expected one image (rows, columns) for each label. Fetch the files again."
            )
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield Sample(f"{part}/{number:05d}", classes[label], part, partial(_png, image))


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _labels(folder: Path, part: Part) -> np.ndarray:
    return read_idx(_idx_path(folder, f"{IDX_STEMS[part]}-labels-idx1-ubyte"))


def _is_idx(folder: Path) -> bool:
    if not folder.is_dir():
        raise UserError(f"{folder} is missing. A data set is a folder of {LAYOUT}.")
    return any(folder.glob("*-idx[13]-ubyte*"))


def _idx_path(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise UserError(f"{folder}: expected {name}.gz (or {name}) beside the other idx files. Fetch the data set again.")


def _parts(folder: Path) -> dict[Part | None, Path]:
    """The roots of the class folders: the folder itself, or its train and test folders."""
    names = _visible(folder, folders=True)
    if not names:
        raise UserError(f"{folder} holds no class folder. A data set is a folder of {LAYOUT}.")
    if "train" in names and len(names) > 2 and set(names) <= PARTS:
        raise UserError(
            f"{folder}: expected folders train and test, or class folders; found {', '.join(names)}. Move the images "
            "of the third into the class folders of train: split.val takes validation images from there."
        )
    if sorted(names) == ["test", "train"] and all(_visible(folder / name, folders=True) for name in names):
        return {"train": folder / "train", "test": folder / "test"}
    loose = [name for name in _visible(folder, folders=False) if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    if loose:
        raise UserError(
            f"{folder}: expected images in class folders, found {len(loose)} beside them ({', '.join(loose[:3])}"
            f"{', ...' if len(loose) > 3 else ''}). Move each into the folder of its class: {', '.join(names[:5])}"
            f"{', ...' if len(names) > 5 else ''}."
        )
    return {None: folder}


def _visible(folder: Path, folders: bool) -> list[str]:
    """Names of the folders, or of the files, in a folder, sorted, without hidden ones."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() == folders and not _hidden(entry.name))


def _files_below(folder: Path) -> Iterator[Path]:
    for name in _visible(folder, folders=False):
        yield folder / name
    for name in _visible(folder, folders=True):
        yield from _files_below(folder / name)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def _natural(names: set[str] | list[str]) -> list[str]:
    def key(name: str) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]

    return sorted(names, key=lambda name: (key(name), name))


def _text(path: str) -> str:
    """A path as text that any file can hold: what is no UTF-8 in it is replaced."""
    return os.fsencode(path).decode("utf-8", "replace")
