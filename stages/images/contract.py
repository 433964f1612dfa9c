"""The input contract: what a network wants of an image. It travels from split to the exported model."""

from dataclasses import dataclass
from typing import Literal

Form = Literal["photo", "ink"]
Polarity = Literal["light_on_dark", "dark_on_light"]
Fit = Literal["stretch", "crop", "pad"]
Range = tuple[float, float]


@dataclass(frozen=True)
class Contract:
    """How an image becomes pixels. Plain fields: ``dataclasses.asdict`` is its JSON form, ``Contract(**d)`` reads it.

    Attributes:
        size: side of the square the network takes, in pixels.
        channels: 1 (luminance) or 3 (red, green, blue; grayscale is repeated).
        form: ``photo`` resizes the image; ``ink`` finds the handwriting in it and brings it into MNIST's form.
        polarity: ``dark_on_light`` inverts, so that strokes are light on black whatever they were written on.
        fit: how the photo form makes an image square: ``stretch``, ``crop`` (the middle) or ``pad`` (black bars).
        range: of gray values of more than 8 bits those that become black and white, the same for all images. None: the
            full range, 0 to 65535 of whole numbers and 0 to 1 of floating point.
    """

    size: int
    channels: int
    form: Form
    polarity: Polarity
    fit: Fit
    range: Range | None = None  # files from before there was a choice do not hold it

    def __post_init__(self) -> None:
        if isinstance(self.range, list):  # as JSON has it
            object.__setattr__(self, "range", tuple(self.range))
