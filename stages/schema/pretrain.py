"""The ``pretrain`` section of params.yaml."""

from typing import Annotated, Any

from pydantic import Field

from stages.base.params import Section, Seed, allowed
from stages.images.contract import Form, Polarity
from stages.schema.class_names import are_class_names

AUTO = "auto"
SOURCE = "source"  # in pretrain.backbone: the network in the file that pretrain.source names
RANGES = ("0-255", "0-1", "-1-1")
_PIXELS = f"auto, {', '.join(RANGES)}, or {{mean: [...], std: [...]}} with a number above 0 for each channel in std"

Pixels = str | dict[str, list[float]]


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, int | float) and not isinstance(each, bool) for each in value
    )


def _is_pixels(value: Any) -> bool:
    if not isinstance(value, dict):
        return value in (AUTO, *RANGES)
    if value.keys() != {"mean", "std"} or not all(map(_are_numbers, value.values())):
        return False
    return len(value["mean"]) == len(value["std"]) in (1, 3) and min(value["std"]) > 0


def _is_classes(value: Any) -> bool:
    return value == AUTO or are_class_names(value)


class Pretrain(Section):
    """Where the backbone and its weights come from.

    Attributes:
        backbone: the name of a built-in backbone, or SOURCE.
        pixels: the pixel range that the user's own network expects: AUTO, one of RANGES, or mean and std of each
            channel, for pixels scaled to 0-1.
        output: where the backbone in the user's own network ends: AUTO, or the name of a layer or output.
        classes: the class names of its outputs, in order, or AUTO.
    """

    source: str
    backbone: str
    pixels: Annotated[Pixels, allowed(_is_pixels, _PIXELS)]
    output: str
    classes: Annotated[str | list[str | int], allowed(_is_classes, "auto, or a list of two or more different names")]
    image_size: Annotated[int, Field(ge=8, le=4096)]
    form: Form
    polarity: Polarity
    epochs: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    seed: Seed

    @property
    def network(self) -> str:
        """The name of a built-in backbone, or the source of the user's own, for messages."""
        return self.source if self.backbone == SOURCE else self.backbone

    @property
    def has_weights(self) -> bool:
        """Whether the backbone has learned something: before, or for ``epochs`` on a data set."""
        return self.epochs > 0 or self.backbone == SOURCE or self.source.endswith((".h5", "_imagenet"))
