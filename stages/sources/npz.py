"""Read data sets in .npz files, such as Keras's mnist.npz (x_train, y_train, …) and MedMNIST's (train_images, …)."""

import re
from functools import partial

import numpy as np

from stages.base.errors import UserError, summarize
from stages.base.splits import SPLITS, Part
from stages.sources.archives import make_seekable
from stages.sources.columns import ONE_CLASS
from stages.sources.data_set import DataSet, Sample, encode_png
from stages.sources.parts import WORDS
from stages.sources.tree import DAMAGED, File, sort_naturally

SUFFIX = ".npz"
IMAGES, LABELS = ("x", "image", "images"), ("y", "label", "labels")
EXPECTED = "expected arrays x_train and y_train (or train_images and train_labels, …; also of val and test)"


def read_npz(file: File, where: str) -> DataSet:
    """Read the images and labels of each part; in an undivided data set they are x and y, or images and labels.

    Args:
        file: the archive of arrays. It is never unpickled: pickled objects can run any code.
        where: its name in messages.

    Raises:
        UserError: it is damaged, or has pickled objects or other arrays.
    """
    try:
        with make_seekable(file, where).open() as opened, np.load(opened, allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    except (OSError, *DAMAGED) as error:
        if "allow_pickle" in str(error):
            raise UserError(
                f"{where} holds pickled objects, which can run any code when they are read. Save plain arrays of "
                "numbers instead: numpy.savez(file, x_train=images, y_train=labels)."
            ) from None
        reason = summarize(error)
        raise UserError(f"{where}: expected an .npz file, received another file or a part of one: {reason}.") from None
    arrays_of: dict[tuple[Part | None, bool], np.ndarray] = {}
    for name, array in held.items():
        words = re.split(r"[\W_]+", name.lower())
        part = next((WORDS[word] for word in words if word in WORDS), None)
        if any(word in (*IMAGES, *LABELS) for word in words):
            arrays_of[part, any(word in IMAGES for word in words)] = array
    parts = [part for part in (None, *SPLITS) if (part, True) in arrays_of and (part, False) in arrays_of]
    if len(arrays_of) != len(held) or 2 * len(parts) != len(held) or not ({None, "train"} & set(parts)):
        raise UserError(f"{where}: {EXPECTED}; found {', '.join(held) or 'none'}.")
    samples = []
    for part in parts:
        images, labels = (arrays_of[part, kind] for kind in (True, False))
        _check(images, labels, f"{where}: {part or 'arrays'}")
        for number, (image, label) in enumerate(zip(images, labels.reshape(-1).tolist(), strict=True)):
            pixels = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
            samples.append(Sample(f"{part or 'images'}/{number:05d}", str(label), part, partial(encode_png, pixels)))
    given = {part: f"arrays of {where}" for part in parts if part}
    return DataSet(sort_naturally({sample.class_name for sample in samples}), samples, parts=given)


def _check(images: np.ndarray, labels: np.ndarray, where: str) -> None:
    gray = images.ndim == 3 or (images.ndim == 4 and images.shape[-1] == 1)
    if not (
        (gray and images.dtype in (np.uint8, np.uint16))
        or (images.ndim == 4 and images.shape[-1] == 3 and images.dtype == np.uint8)
    ):
        raise UserError(
            f"{where}: expected images as uint8 (count, height, width) or (count, height, width, 3), received "
            f"{images.dtype} {images.shape}."
        )
    if labels.ndim > 1 and labels.size != len(labels):
        raise UserError(
            f"{where}: labels of shape {labels.shape} name several classes. {ONE_CLASS}: expected (count,)."
        )
    if labels.size != len(images) or labels.dtype.kind not in "iuU":
        raise UserError(
            f"{where}: expected one whole number or name for each of {len(images)} images, received labels "
            f"{labels.dtype} {labels.shape}."
        )
