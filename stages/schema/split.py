"""The ``split`` section of params.yaml."""

from typing import Annotated, Any

from pydantic import Field

from stages.base.params import Section, Seed, allowed
from stages.images.contract import Fit, Form, Polarity


def _is_amount(value: Any) -> bool:
    if isinstance(value, int):
        return value >= 0
    return value == "rest" if isinstance(value, str) else isinstance(value, float) and 0 < value < 1


def _is_classes(value: Any) -> bool:
    if isinstance(value, list):
        names = {str(name) for name in value if isinstance(name, str | int) and not isinstance(name, bool)}
        return len(names) == len(value) >= 2
    return bool(value == "all")


Amount = Annotated[
    int | float | str, allowed(_is_amount, "a count of images (20), a share between 0 and 1 (0.2), or 'rest'")
]


class Split(Section):
    """Which images of which data set go where, and how an image file becomes pixels."""

    source: str
    classes: Annotated[list[str | int] | str, allowed(_is_classes, "'all' or a list of two or more different classes")]
    form: Form
    polarity: Polarity
    fit: Fit
    train: Amount
    val: Amount
    test: Amount
    max_rejects: Annotated[float, Field(ge=0, le=1)]
    seed: Seed
