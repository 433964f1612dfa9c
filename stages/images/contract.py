"""The input contract: how an image becomes a network's input. It is passed from split to the exported model."""

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
        size: side of the network's square input, in pixels.
        channels: 1 (luminance) or 3 (red, green, blue; grayscale is repeated).
        form: ``photo`` or ``ink``; params.yaml explains it, and polarity and fit, in the split section.
        polarity: ``dark_on_light`` is inverted.
        fit: how the photo form makes an image square.
        range: the gray values that become black and white in images of more than 8 bits; None: the full range.
    """

    size: int
    channels: int
    form: Form
    polarity: Polarity
    fit: Fit
    range: Range | None = None  # older files lack it

    def __post_init__(self) -> None:
        if isinstance(self.range, list):  # read from JSON
            object.__setattr__(self, "range", tuple(self.range))
