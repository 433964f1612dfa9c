"""Read CIFAR-10 and CIFAR-100 in their binary format: records of label bytes and pixels, no pickle.

Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html: a record is the label (CIFAR-10: one byte; CIFAR-100: the
coarse, then the fine label) and 3,072 bytes of 32x32 pixels: all of red, then green, then blue, row by row.
"""

from functools import partial

import numpy as np

from stages.base.errors import UserError
from stages.base.splits import Part
from stages.sources.data_set import DataSet, Sample, encode_png
from stages.sources.tree import DAMAGED, File, Folder, sort_naturally

SIDE = 32
PIXELS = 3 * SIDE * SIDE
NAMES = {
    "batches.meta.txt": 1,
    "fine_label_names.txt": 2,
}  # file of class names: number of label bytes; the last is used
WHERE = "Fetch or copy the archive again."


def is_cifar(folder: Folder) -> bool:
    """Return whether ``folder`` has the binary files of CIFAR-10 or CIFAR-100."""
    return any(name in folder.files for name in NAMES) and any(name.endswith(".bin") for name in folder.files)


def read_cifar(folder: Folder, where: str) -> DataSet:
    """Read all records into memory, at most 200 MB. The classes of CIFAR-100 are the fine ones.

    Args:
        folder: with the binary files, on disk or in an archive.
        where: its name in messages.

    Raises:
        UserError: a file has an incomplete record, or a label has no name.
    """
    names, labels = next((name, count) for name, count in NAMES.items() if name in folder.files)
    try:
        text = folder.files[names].read().decode("utf-8")
        classes = [line.strip() for line in text.split("\n") if line.strip()]
        samples: list[Sample] = []
        counts: dict[Part, int] = {"train": 0, "test": 0}
        for name in sort_naturally(name for name in folder.files if name.endswith(".bin")):
            part: Part = "test" if name.startswith("test") else "train"
            records = _read_records(folder.files[name], labels + PIXELS, f"{where}: {name}")
            for row, record in enumerate(records):
                if record[labels - 1] >= len(classes):
                    raise UserError(
                        f"{where}: {name}: record {row} has label {record[labels - 1]}; expected labels below "
                        f"{len(classes)}, for the classes in {names}. {WHERE}"
                    )
                read = partial(_encode, record[labels:])
                samples.append(Sample(f"{part}/{counts[part]:05d}", classes[record[labels - 1]], part, read))
                counts[part] += 1
    except (OSError, *DAMAGED) as error:
        raise UserError(f"{where} cannot be read: {error}. {WHERE}") from None
    return DataSet(classes, samples)


def _read_records(file: File, size: int, name: str) -> np.ndarray:
    data = file.read()
    if len(data) % size:
        raise UserError(
            f"{name}: expected records of {size:,} bytes, received {len(data):,} bytes, which is no multiple. {WHERE}"
        )
    return np.frombuffer(data, np.uint8).reshape(-1, size)


def _encode(pixels: np.ndarray) -> bytes:
    return encode_png(pixels.reshape(3, SIDE, SIDE).transpose(1, 2, 0).copy())
