"""The ``extract`` section of params.yaml."""

from typing import Annotated, Any, Literal

from pydantic import Field

from stages.base.params import Section, Seed, allowed

Share = Annotated[float, Field(ge=0, le=1)]
Half = Annotated[float, Field(ge=0, le=0.5)]
Alpha = Annotated[float, Field(ge=0, le=100)]


def is_freeze(value: Any) -> bool:
    """Whether ``value`` may say what is frozen, whatever the backbone."""
    return value != "" and isinstance(value, int | str)


def _is_views(value: Any) -> bool:
    return value == "fresh" or (isinstance(value, int) and value >= 1)


def _is_fill(value: Any) -> bool:
    return value in ("nearest", "reflect", "wrap") or (isinstance(value, int) and 0 <= value <= 255)


Freeze = Annotated[
    int | str, allowed(is_freeze, "'all', 'none', the name of a layer or block, or a count of layers such as -2")
]


class RandAugment(Section):
    """RandAugment: so many operations drawn from a list, all of one strength.

    Attributes:
        operations: how many for each view, one after the other; 0: none.
        magnitude: 0 (hardly a difference) to 30.
    """

    operations: Annotated[int, Field(ge=0, le=14)]
    magnitude: Annotated[float, Field(ge=0, le=30)]


class Augment(Section):
    """How far an augmented view may differ from its image. With 0 (and flip none) nothing happens.

    Attributes:
        rotation: degrees, either way.
        shift: share of the side, in both directions.
        shear: degrees by which upright lines may lean, either way.
        zoom: share by which it may be larger or smaller.
        flip: each with probability 1/2.
        fill: what comes in at the edges: a grey value, ``nearest`` (the edge repeated), ``reflect`` (mirrored) or
            ``wrap`` (the other side).
        brightness: share by which it may be lighter or darker.
        contrast: share by which differences from the mean grey may be larger or smaller.
        colour: share by which colours may be stronger or paler.
        cutout: side of the square that is cut out, as a share of the image's side.
        mixup: alpha of the Beta distribution of the shares in which two images are mixed.
        cutmix: alpha of the Beta distribution of the share of the area that stays when a piece of another is put in.
        rand_augment: operations drawn from a list.
    """

    rotation: Annotated[float, Field(ge=0, le=180)]
    shift: Half
    shear: Annotated[float, Field(ge=0, le=60)]
    zoom: Half
    flip: Literal["none", "horizontal", "vertical", "both"]
    fill: Annotated[int | str, allowed(_is_fill, "a grey value from 0 to 255, 'nearest', 'reflect' or 'wrap'")]
    brightness: Share
    contrast: Share
    colour: Share
    cutout: Share
    mixup: Alpha
    cutmix: Alpha
    rand_augment: RandAugment

    @property
    def mixes(self) -> bool:
        """Whether a view is mixed of two images, so that its target is shares of classes."""
        return self.mixup > 0 or self.cutmix > 0


class Extract(Section):
    """How much of the backbone is frozen, and what is kept of its output.

    Attributes:
        depths: further values as of ``freeze`` whose activations are kept, too.
    """

    freeze: Freeze
    depths: list[Freeze]
    pooling: Literal["average", "max", "none"]
    views: Annotated[int | str, allowed(_is_views, "a count of 1 or more, or 'fresh'")]
    augment: Augment
    precision: Literal["float32", "float16"]
    seed: Seed

    @property
    def kept_views(self) -> int:
        """How many views of each training image are kept: of fresh ones none, but the image itself."""
        return self.views if isinstance(self.views, int) else 1
