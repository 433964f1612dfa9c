"""Lists of class names in params.yaml."""

from datetime import date, datetime
from typing import Any

# How YAML may misread an unquoted name. Whole numbers are accepted as names.
_OTHER = {bool: "the truth value", type(None): "the value", float: "the number", date: "the date", datetime: "the time"}


def are_class_names(value: Any) -> bool:
    """Whether a value is a list of two or more different names.

    Raises:
        ValueError: YAML did not read a name as text.
    """
    if not isinstance(value, list):
        return False
    for name in value:
        if kind := _OTHER.get(type(name)):
            written = "null" if name is None else str(name).lower()
            example = "1e3" if isinstance(name, float) else written
            raise ValueError(f"expected names; YAML reads one as {kind} {written}: put it in quotes, as in '{example}'")
    return all(isinstance(name, str | int) for name in value) and len({str(name) for name in value}) == len(value) >= 2
