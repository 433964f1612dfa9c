"""The freeze boundary: which layers are frozen, and the deepest tensor whose values can be kept."""

import difflib
from dataclasses import dataclass

import pandas as pd

from stages.base.errors import UserError
from stages.compute.architecture import PIXELS, Architecture


@dataclass(frozen=True)
class Depth:
    """A depth of freezing, and where its activations are kept.

    Attributes:
        frozen: how many of the backbone's layers are frozen, from the front.
        layer: the layer whose output is kept as activations: the deepest that every path from input to output goes
            through and that has only frozen layers up to it. (It may be an operation such as the ``x + y`` of ConvNeXt,
            which Keras does not count among the layers.) None where that is the input, so that pixels are kept.
    """

    frozen: int
    layer: str | None

    @property
    def kept(self) -> str:
        """The name of the activations that are kept: SPLIT_KEPT.npy holds them. Depths may share them."""
        return PIXELS if self.layer is None else self.layer


def boundary(backbone: Architecture, freeze: int | str, key: str = "extract.freeze") -> Depth:
    """Resolve ``freeze`` for ``backbone``.

    Args:
        freeze: ``all``, ``none``, the name of a block or layer (thaw from there), or a count n with the meaning of
            ``layers[:n]`` are frozen.
        key: the one of params.yaml that holds ``freeze``, for messages.

    Raises:
        UserError: no layer or block has that name, or the count goes beyond the layers.
    """
    frozen = frozen_count(backbone, freeze, key)
    thawed = set(backbone.names[frozen:])
    kept, inputs = None, backbone.names[:1]
    for name in backbone.boundaries:
        if name in thawed or backbone.ancestors(name) & thawed:
            break
        kept = name
    return Depth(frozen, None if kept in inputs else kept)


def frozen_count(backbone: Architecture, freeze: int | str, key: str = "extract.freeze") -> int:
    """Return how many layers of ``backbone`` are frozen; see ``boundary``."""
    names, blocks = backbone.names, backbone.blocks
    if freeze == "all":
        return len(names)
    if freeze == "none":
        return 0
    if isinstance(freeze, int):
        if abs(freeze) > len(names):
            raise UserError(
                f"{key}: expected a count from {-len(names)} to {len(names)}, for the backbone has "
                f"{len(names)} layers; received {freeze}."
            )
        return len(names[:freeze])
    if freeze in blocks:  # before the layers: InceptionV3's mixed5 is the block, not the layer that ends it
        return names.index(blocks[freeze])
    if freeze in names:
        return names.index(freeze)
    known = [*blocks, *names]
    close = difflib.get_close_matches(freeze, known, n=3) or [name for name in known if freeze in name][:3]
    hint = f" Did you mean {' or '.join(dict.fromkeys(close))}?" if close else ""
    listed = f"blocks: {', '.join(blocks)}; layers: " if blocks else ""
    raise UserError(
        f"{key}: expected 'all', 'none', a count, or a layer or block of the backbone "
        f"({listed}{names[0]}, {names[1]} … {names[-1]}); received '{freeze}'.{hint}"
    )


def layer_table(backbone: Architecture, frozen: int, train_batchnorm: bool) -> pd.DataFrame:
    """Return one row a layer: index, name, type, parameters, and state.

    The state is ``frozen``, ``thawed``, or ``inference`` for a BatchNormalization layer among the thawed that keeps
    its statistics and scale.
    """
    rows = []
    for index, layer in enumerate(backbone.layers):
        state = "frozen" if index < frozen else "thawed"
        if state == "thawed" and layer.type == "BatchNormalization" and not train_batchnorm:
            state = "inference"
        rows.append((index, layer.name, layer.type, layer.parameters, state))
    return pd.DataFrame(rows, columns=["index", "name", "type", "parameters", "state"])
