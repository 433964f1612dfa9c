"""The ``split`` section of params.yaml."""

import re
import unicodedata
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import Field

from stages.base.params import Section, Seed, allowed
from stages.base.splits import SPLITS
from stages.images.bit_depth import is_range
from stages.images.contract import Fit, Form, Polarity
from stages.schema.class_names import are_class_names

SAME = "same"  # in train_seed
LONGEST = 200  # characters of a text in `about`


def _is_amount(value: Any) -> bool:
    if isinstance(value, int):
        return value >= 0
    return value == "rest" if isinstance(value, str) else isinstance(value, float) and 0 < value < 1


def _is_train_seed(value: Any) -> bool:
    return 0 <= value < 2**32 if isinstance(value, int) else bool(value == SAME)


def _is_classes(value: Any) -> bool:
    return value == "all" or are_class_names(value)


def _is_encoding(value: Any) -> bool:
    try:
        return isinstance(value, str) and b"az/09._-".decode(value) == "az/09._-"
    except (LookupError, ValueError):  # unknown, or not a text encoding
        return False


def _is_parts(value: Any) -> bool:
    if isinstance(value, dict):
        return "train" in value and set(value) <= set(SPLITS) and all(isinstance(path, str) for path in value.values())
    return bool(value == "auto")


def _is_labels(value: Any) -> bool:
    if isinstance(value, dict):
        held = all(isinstance(name, str) and name for name in value.values())
        return held and bool(value) and set(value) <= {"table", "file", "label", "split"}
    return isinstance(value, str) and bool(value)


def _is_group(value: Any) -> bool:
    if isinstance(value, dict) and list(value) == ["column"]:
        return isinstance(value["column"], str) and bool(value["column"])
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


def _is_about(value: Any) -> bool:
    if isinstance(value, dict):
        return len(value) > 0 and set(value) <= {"source", "license"} and all(map(_is_line, value.values()))
    return bool(value == "none")


def _is_line(text: Any) -> bool:
    """Return whether this is one line of printable text that can be encoded as UTF-8."""
    return (
        isinstance(text, str)
        and 0 < len(text.strip()) <= len(text) <= LONGEST
        and len(text.splitlines()) == 1
        and not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text)
    )


def _is_corrections(value: Any) -> bool:
    return isinstance(value, str) and (value == "none" or value.endswith(".csv"))


About = Annotated[
    dict[str, str] | str,
    allowed(_is_about, f"none, or {{source: TEXT, license: TEXT}}, one line each of at most {LONGEST} characters"),
]


Values = Annotated[
    list[int | float] | str,
    allowed(
        lambda value: (
            value in ("auto", "full") if isinstance(value, str) else isinstance(value, list) and is_range(value)
        ),
        "auto, full, or two numbers, the lower one first, such as [0, 4095]",
    ),
]


class Split(Section):
    """Which images go into which split, and how an image file becomes pixels."""

    source: str
    labels: Annotated[
        dict[str, str] | str,
        allowed(_is_labels, "none, a .csv or .tsv table, or {table: PATH, file: COLUMN, label: COLUMN, split: COLUMN}"),
    ]
    corrections: Annotated[str, allowed(_is_corrections, "none, or a .csv table in data/tables/")]
    about: About
    classes: Annotated[list[str | int] | str, allowed(_is_classes, "'all' or a list of two or more different classes")]
    parts: Parts
    names: Annotated[str, allowed(_is_encoding, "an encoding that Python knows, such as utf-8, cp437 or shift_jis")]
    form: Form
    polarity: Polarity
    fit: Fit
    range: Values
    train: Amount
    val: Amount
    test: Amount
    group: Annotated[dict[str, str] | str, allowed(_is_group, "none, folder, {column: NAME}, or {regex: PATTERN}")]
    near_duplicates: Literal["keep", "group", "drop"]
    max_rejects: Annotated[float, Field(ge=0, le=1)]
    seed: Seed
    train_seed: Annotated[int | str, allowed(_is_train_seed, f"'{SAME}', or a whole number from 0 to {2**32 - 1}")]

    @property
    def amounts(self) -> dict[str, Amount]:
        """The amounts of the three splits."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def redraw(self) -> int | None:
        """The seed that draws train and val anew; None if ``seed`` draws all splits."""
        return self.train_seed if isinstance(self.train_seed, int) else None

    @property
    def handwriting(self) -> Polarity | None:
        """The polarity of handwriting in the images; None if they are not in the ink form."""
        return self.polarity if self.form == "ink" else None

    @property
    def table(self) -> str:
        """The path of the label table; an empty string if there is none."""
        name = self.labels.get("table", "") if isinstance(self.labels, dict) else self.labels
        return "" if name == "none" else name
