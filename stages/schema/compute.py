"""The ``compute`` section of params.yaml."""

from typing import Annotated, Any, Literal

from stages.base.params import Section, allowed


def _is_count(value: Any) -> bool:
    return value == "auto" or (isinstance(value, int) and value >= 1)


Count = Annotated[int | str, allowed(_is_count, "a count of 1 or more, or 'auto'")]


class Compute(Section):
    """How networks are computed: on what, how many images at a time, how precisely."""

    precision: Literal["float32", "bfloat16"]
    batch_size: Count
    devices: Count
