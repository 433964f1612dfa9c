"""The ``extract`` section of params.yaml."""

from typing import Annotated, Any, Literal

from stages.base.params import Section, Seed, allowed
from stages.images.augment import Augment


def is_freeze(value: Any) -> bool:
    """Return whether ``value`` can be a freeze depth of some backbone."""
    return value != "" and isinstance(value, int | str)


def _is_views(value: Any) -> bool:
    return value == "fresh" or (isinstance(value, int) and value >= 1)


Freeze = Annotated[
    int | str, allowed(is_freeze, "'all', 'none', the name of a layer or block, or a count of layers such as -2")
]


class Extract(Section):
    """How much of the backbone is frozen, and which activations are stored.

    Attributes:
        depths: further freeze depths whose activations are stored.
    """

    freeze: Freeze
    depths: list[Freeze]
    pooling: Literal["average", "max", "none", "first"]
    views: Annotated[int | str, allowed(_is_views, "a count of 1 or more, or 'fresh'")]
    augment: Augment
    precision: Literal["float32", "float16"]
    seed: Seed

    @property
    def stored_views(self) -> int:
        """The number of stored views per training image: 1, the image itself, if views are fresh."""
        return self.views if isinstance(self.views, int) else 1
