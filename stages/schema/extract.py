"""The ``extract`` section of params.yaml."""

from typing import Annotated, Any, Literal

from pydantic import Field

from stages.base.params import Section, Seed, allowed


def _is_freeze(value: Any) -> bool:
    return value != "" and isinstance(value, int | str)


class Augment(Section):
    """How far an augmented view may differ from its image.

    Attributes:
        rotation: degrees, either way.
        shift: share of the side, in both directions.
        zoom: share by which it may be larger or smaller.
        flip: each with probability 1/2.
        fill: what comes in at the edges: ``black``, ``nearest`` (the edge repeated) or ``reflect`` (mirrored).
    """

    rotation: Annotated[float, Field(ge=0, le=180)]
    shift: Annotated[float, Field(ge=0, le=0.5)]
    zoom: Annotated[float, Field(ge=0, le=0.5)]
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
    seed: Seed
