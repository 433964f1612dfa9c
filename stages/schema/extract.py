"""The ``extract`` section of params.yaml."""

from typing import Annotated, Any, Literal

from pydantic import Field

from stages.base.params import Section, allowed


def _is_freeze(value: Any) -> bool:
    return value != "" and isinstance(value, int | str)


class Augment(Section):
    """How far an augmented view may differ from its image."""

    rotation: Annotated[float, Field(ge=0, le=180)]
    shift: Annotated[float, Field(ge=0, lt=1)]
    zoom: Annotated[float, Field(ge=0, lt=1)]
    flip: Literal["none", "horizontal", "vertical", "both"]
    fill: Literal["black", "nearest", "reflect"]


class Extract(Section):
    """How much of the backbone is frozen, and what is kept of its output."""

    freeze: Annotated[
        int | str, allowed(_is_freeze, "'all', 'none', the name of a layer or block, or a count of layers such as -2")
    ]
    pooling: Literal["average", "max", "none"]
    views: Annotated[int, Field(ge=1)]
    augment: Augment
    precision: Literal["float32", "float16"]
    batch_size: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0)]
