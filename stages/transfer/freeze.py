"""Freeze depths: how much of a backbone is frozen, and which of its tensors thawed layers can be trained from."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from stages.base.errors import UserError
from stages.compute.architecture import A_GRAPH, PIXELS, Architecture

LAST_BLOCK = "last_block"  # a depth of every backbone: see ``find_last_block``
AS_EXTRACTED = "extract"  # in finetune.thawed.freeze: the depth of extract.freeze


@dataclass(frozen=True)
class Depth:
    """A freeze depth.

    Attributes:
        frozen: how many of the backbone's layers are frozen, from the input on.
        layer: the layer whose output is stored to train from: the deepest that every path from input to output goes
            through and that depends on frozen layers only. (It may be an operation such as the ``x + y`` of ConvNeXt,
            which Keras does not count among the layers.) None where that is the input, so that pixels are stored.
    """

    frozen: int
    layer: str | None

    @property
    def tensor(self) -> str:
        """The name of what is stored, in SPLIT_TENSOR.npy. Depths may share it."""
        return PIXELS if self.layer is None else self.layer


def resolve_freeze(architecture: Architecture, freeze: int | str, key: str = "extract.freeze") -> Depth:
    """Return the depth that ``freeze`` means for a backbone.

    Args:
        architecture: of the backbone.
        freeze: ``all``, ``none``, the name of a block or layer (thaw from there), LAST_BLOCK, or a count n:
            ``layers[:n]`` are frozen.
        key: of params.yaml that holds ``freeze``, for messages.

    Raises:
        UserError: no layer or block has that name, or there are fewer layers.
    """
    frozen = _count_frozen(architecture, freeze, key)
    thawed, layer = set(architecture.names[frozen:]), None
    for name in architecture.dominators:
        if name in thawed or architecture.ancestors(name) & thawed:
            break
        layer = name
    return Depth(frozen, None if layer == architecture.operations[0].name else layer)


def resolve_depths(architecture: Architecture, freeze: int | str, others: Sequence[int | str]) -> list[Depth]:
    """Return the depth of ``extract.freeze``, then those of ``extract.depths``, the most frozen first, each once.

    Args:
        architecture: of the backbone.
        freeze: ``extract.freeze``.
        others: ``extract.depths``.

    Raises:
        UserError: one or more do not exist in this backbone: a line for each.
    """
    depths, wrong = [], []
    for key, value in [("extract.freeze", freeze), *(("extract.depths", other) for other in others)]:
        try:
            depths.append(resolve_freeze(architecture, value, key))
        except UserError as error:
            wrong.append(str(error))
    if wrong:
        raise UserError("\n".join(wrong))
    return list(dict.fromkeys([depths[0], *sorted(depths[1:], key=lambda depth: -depth.frozen)]))


def select_depth(architecture: Architecture, depths: Sequence[Depth], freeze: int | str) -> Depth:
    """Return the depth that ``finetune.thawed.freeze`` means.

    Args:
        architecture: of the backbone.
        depths: those whose activations are stored.
        freeze: like ``extract.freeze``, or "extract" for the first of ``depths``.

    Raises:
        UserError: it is none of them, or does not exist in this backbone.
    """
    key = "finetune.thawed.freeze"
    if freeze == AS_EXTRACTED:
        return depths[0]
    depth = resolve_freeze(architecture, freeze, key)
    if depth not in depths:
        raise UserError(
            f"{key}: expected '{AS_EXTRACTED}', or a depth whose activations extract.freeze and extract.depths store "
            f"(frozen layers: {', '.join(str(known.frozen) for known in depths)}); received {freeze!r}, which freezes "
            f"{depth.frozen}. Add it to extract.depths."
        )
    return depth


def resolve_distinct(architecture: Architecture, values: Sequence[int | str]) -> dict[int | str, int]:
    """Return how many layers each of ``values`` freezes.

    Args:
        architecture: of the backbone.
        values: like ``extract.freeze``.

    Raises:
        UserError: one does not exist in this backbone, or freezes as many layers as another.
    """
    found: dict[int, int | str] = {}
    for value in values:
        frozen = _count_frozen(architecture, value, "depth")
        if frozen in found:
            raise UserError(
                f"depth: {found[frozen]} and {value} freeze the same {frozen} layers. Leave one of them out."
            )
        found[frozen] = value
    return {value: frozen for frozen, value in found.items()}


def plan_unfreezing(architecture: Architecture, plan: Sequence[tuple[int, int | str]], least: int) -> dict[int, int]:
    """Return how many layers are frozen from which epoch on, counted from 0.

    Gradual unfreezing (ULMFiT, Howard & Ruder 2018) thaws the last block first, then one more at a time, so that the
    large gradients of a new head do not destroy what was learned before.

    Args:
        architecture: of the backbone.
        plan: pairs of an epoch, counted from 1, and a value like ``extract.freeze``; [] for ``least`` from the start.
        least: layers that stay frozen throughout.

    Raises:
        UserError: a block or layer does not exist, or one of those layers would be thawed.
    """
    counts: dict[int, int] = {}
    for epoch, freeze in plan:
        frozen = _count_frozen(architecture, freeze, "finetune.thawed.gradual")
        if frozen < least:
            raise UserError(
                f"finetune.thawed.gradual: expected at least the {least} layers frozen that finetune.thawed.freeze "
                f"freezes; received freeze: {freeze} for epoch {epoch}, which freezes {frozen}."
            )
        counts[epoch - 1] = frozen
    return counts or {0: least}


def parse_freeze(text: str) -> int | str:
    """Return a value like ``extract.freeze`` from a command line as params.yaml would hold it."""
    try:
        return int(text)
    except ValueError:
        return text


def layer_table(architecture: Architecture, frozen: int, train_batchnorm: bool) -> pd.DataFrame:
    """Return one row per layer: index, name, type, parameters, and state.

    The state is ``frozen``, ``thawed``, or ``inference`` for a BatchNormalization layer among the thawed that stays in
    inference mode.

    Args:
        architecture: of the backbone.
        frozen: how many layers are frozen.
        train_batchnorm: whether thawed BatchNormalization layers train.
    """
    rows = []
    for index, layer in enumerate(architecture.layers):
        state = "frozen" if index < frozen else "thawed"
        if state == "thawed" and layer.type == "BatchNormalization" and not train_batchnorm:
            state = "inference"
        rows.append((index, layer.name, layer.type, layer.parameters, state))
    return pd.DataFrame(rows, columns=["index", "name", "type", "parameters", "state"])


def _count_frozen(architecture: Architecture, freeze: int | str, key: str) -> int:
    names, blocks = architecture.names, architecture.blocks
    if freeze == "all":
        return len(names)
    if not architecture.trainable:
        raise UserError(f"{key}: expected all, because the backbone is {A_GRAPH}; received {freeze}.")
    if freeze == "none":
        return 0
    rows = [*names, *(layer.name for layer in architecture.classifier)]
    if isinstance(freeze, int):
        if abs(freeze) > len(rows):
            whole = f"{'network' if architecture.classifier else 'backbone'} has {len(rows)} layers"
            whole += ", including its classifier" * bool(architecture.classifier)
            raise UserError(
                f"{key}: expected a count from {-len(rows)} to {len(rows)}, because the {whole}; received {freeze}."
            )
        return _within_backbone(architecture, len(rows[:freeze]), freeze, key)
    if freeze == LAST_BLOCK and blocks:
        return find_last_block(architecture)
    if freeze in blocks:  # before the layers: InceptionV3's mixed5 is the block, not the layer that ends it
        return names.index(blocks[freeze])
    if freeze in rows:
        return _within_backbone(architecture, rows.index(freeze), freeze, key)
    known = [*blocks, *rows]
    close = difflib.get_close_matches(freeze, known, n=3) or [name for name in known if freeze in name][:3]
    hint = f" Did you mean {' or '.join(dict.fromkeys(close))}?" if close else ""
    listed = f"blocks: {', '.join(blocks)}, {LAST_BLOCK}; layers: " if blocks else ""
    raise UserError(
        f"{key}: expected 'all', 'none', a count, or a layer or block of the backbone "
        f"({listed}{names[0]}, {names[1]} … {names[-1]}); received '{freeze}'.{hint}"
    )


def find_last_block(architecture: Architecture) -> int:
    """Return the index of the first layer of the last block.

    A single convolution or dense layer after the blocks, such as Conv_1 of MobileNetV2, is no block here, though it has
    a name like one, unless the network consists of such blocks alone.

    Args:
        architecture: of a backbone with blocks.
    """
    starts = [architecture.names.index(first) for first in architecture.blocks.values()]

    def count_weighted(start: int, end: int) -> int:
        layers = architecture.layers[start:end]
        return sum(layer.parameters > 0 and layer.type != "BatchNormalization" for layer in layers)

    ends = [*starts[1:], len(architecture.layers)]
    whole = [start for start, end in zip(starts, ends, strict=True) if count_weighted(start, end) > 1]
    return (whole or starts)[-1]


def _within_backbone(architecture: Architecture, frozen: int, freeze: int | str, key: str) -> int:
    """Return how many layers of the backbone the first ``frozen`` rows of the table are.

    Raises:
        UserError: they include all of the classifier that has weights.
    """
    count, classifier = len(architecture.names), architecture.classifier
    if frozen > count and not any(layer.parameters for layer in classifier[frozen - count :]):
        raise UserError(
            f"{key}: {freeze} freezes the classifier too, which leaves nothing to train. Expected a count that "
            f"excludes its last layer with weights, or all: the whole backbone."
        )
    return min(frozen, count)
