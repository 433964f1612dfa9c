"""A data set and its images: the result of reading any layout."""

import io
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image

from stages.base.splits import Part

Kind = Literal[
    "unreadable", "duplicate", "stray", "unused", "no image", "grouped", "locked", "unlabeled", "unlisted", "dropped"
]


@dataclass(frozen=True)
class Sample:
    """An image of a data set. Its bytes are read on demand, possibly by several threads.

    Attributes:
        source: its path in the data set, such as "4/img_3.jpg" or "train/12345".
        class_name: its class.
        part: its part of the data set; None if the data set is undivided.
        read: returns the bytes of the image file.
        group: of images that must be in one split, such as those of a patient; empty if images are not grouped.
        given: its class in the data set, where a correction has changed it; otherwise empty.
    """

    source: str
    class_name: str
    part: Part | None
    read: Callable[[], bytes]
    group: str = ""
    given: str = ""

    @property
    def data(self) -> bytes:
        """The bytes of the image file; reading them may raise OSError."""
        return self.read()


@dataclass(frozen=True)
class Reject:
    """Something in the data set that is not used, and why.

    Attributes:
        source: its path in the data set; a folder's ends with a slash.
        class_name: its class; empty if it has none.
        reason: in words.
        kind: "stray": an image beside the class folders; "unused": a folder or archive there; "no image": another file
            in a class folder, also by its name; "grouped": an image whose group is tested with (or was trained on);
            "locked": an image that the lock table excludes from its split; "unlabeled": a row of a table without a
            label or an image; "unlisted": an image that a table does not list; "dropped": by a correction.
    """

    source: str
    class_name: str
    reason: str
    kind: Kind = "unreadable"


@dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
        classes: their names, in the data set's order.
        samples: its images, always in the same order.
        left_out: what is not used.
        parts: the path of each part, if the data set is divided.
        notes: lines to print about it.
    """

    classes: list[str]
    samples: list[Sample]
    left_out: list[Reject] = field(default_factory=list)
    parts: dict[Part, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def join_names(names: Sequence[str], most: int) -> str:
    """Return at most ``most`` names as a list in a message."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def normalize_name(name: str) -> str:
    """Return a name in Unicode's composed form (NFC), so that names that look the same are equal."""
    return unicodedata.normalize("NFC", name)


def encode_png(image: np.ndarray) -> bytes:
    """Return uint8 pixels (height, width) or (height, width, 3) as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
