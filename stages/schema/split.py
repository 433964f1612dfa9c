"""The ``split`` section of params.yaml."""

import re
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import Field

from stages.base.params import Section, Seed, allowed
from stages.images.contract import Fit, Form, Polarity
from stages.sources.parts import PARTS


def _is_amount(value: Any) -> bool:
    if isinstance(value, int):
        return value >= 0
    return value == "rest" if isinstance(value, str) else isinstance(value, float) and 0 < value < 1


def _is_classes(value: Any) -> bool:
    if isinstance(value, list):
        names = {str(name) for name in value if isinstance(name, str | int) and not isinstance(name, bool)}
        return len(names) == len(value) >= 2
    return bool(value == "all")


def _is_parts(value: Any) -> bool:
    if isinstance(value, dict):
        return "train" in value and set(value) <= set(PARTS) and all(isinstance(path, str) for path in value.values())
    return bool(value == "auto")


def _is_group(value: Any) -> bool:
    if isinstance(value, dict):
        with suppress(re.error):
            return list(value) == ["regex"] and isinstance(value["regex"], str) and bool(re.compile(value["regex"]))
        return False
    return value in ("none", "folder")


Amount = Annotated[
    int | float | str, allowed(_is_amount, "a count of images (20), a share between 0 and 1 (0.2), or 'rest'")
]


Parts = Annotated[
    dict[str, str] | str,
    allowed(_is_parts, "auto, or {train: FOLDER, val: FOLDER, test: FOLDER} (val or test or both may be missing)"),
]


class Split(Section):
    """Which images of which data set go where, and how an image file becomes pixels."""

    source: str
    classes: Annotated[list[str | int] | str, allowed(_is_classes, "'all' or a list of two or more different classes")]
    parts: Parts
    form: Form
    polarity: Polarity
    fit: Fit
    train: Amount
    val: Amount
    test: Amount
    group: Annotated[dict[str, str] | str, allowed(_is_group, "none, folder, or {regex: PATTERN}")]
    near_duplicates: Literal["keep", "group", "drop"]
    max_rejects: Annotated[float, Field(ge=0, le=1)]
    seed: Seed
