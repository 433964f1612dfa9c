"""One image of a data set, and a data set: what every layout is read into."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

Part = Literal["train", "test"]


@dataclass(frozen=True)
class Sample:
    """One image of a data set. It is light: its bytes are read when they are asked for, by several threads at once.

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


@dataclass(frozen=True)
class DataSet:
    """The classes of a data set, in its own order, and its images, always in the same order."""

    classes: list[str]
    samples: list[Sample]


def png(image: np.ndarray) -> bytes:
    """Return uint8 pixels (height, width) or (height, width, 3) as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
