"""One image of a data set, and a data set: what every layout is read into."""

import io
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image

from stages.base.splits import Part

Kind = Literal["unreadable", "duplicate", "stray", "unused", "no image", "grouped", "locked", "unlabeled", "unlisted"]


@dataclass(frozen=True)
class Sample:
    """One image of a data set. It is light: its bytes are read when they are asked for, by several threads at once.

    Attributes:
        source: path inside the data set, such as "4/img_3.jpg" or "train/12345".
        class_name: what it shows.
        part: which part of the data set it lies in, None where that comes undivided.
        read: returns the bytes of the image file.
        group: what a table says it belongs to, such as a patient; empty where no column of groups was asked for.
    """

    source: str
    class_name: str
    part: Part | None
    read: Callable[[], bytes]
    group: str = ""

    @property
    def data(self) -> bytes:
        """The bytes of the image file; may raise OSError."""
        return self.read()


@dataclass(frozen=True)
class LeftOut:
    """What is not used, and why.

    Attributes:
        source: path inside the data set; of a folder with a slash at its end.
        class_name: the class it lies in, empty for none.
        reason: in words.
        kind: "stray" is an image beside the class folders; "unused" a folder or archive there; "no image" a file in a
            class folder that is none and is not named like one; "grouped" an image whose group is tested with (or was
            trained on); "locked" one that the table of locked images keeps out of the split that it lies in;
            "unlabeled" a row of a table without a label or an image; "unlisted" an image that a table does not list.
    """

    source: str
    class_name: str
    reason: str
    kind: Kind = "unreadable"


@dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
        classes: their names, in the data set's own order.
        samples: its images, always in the same order.
        left_out: what lies beside the class folders.
        parts: where each part lies, where it comes divided.
        notes: what else there is to say of it, in lines.
    """

    classes: list[str]
    samples: list[Sample]
    left_out: list[LeftOut] = field(default_factory=list)
    parts: dict[Part, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def normalize_name(name: str) -> str:
    """Return a name in Unicode's composed form, so that names that look alike are alike, wherever they were typed."""
    return unicodedata.normalize("NFC", name)


def encode_png(image: np.ndarray) -> bytes:
    """Return uint8 pixels (height, width) or (height, width, 3) as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
