"""The freeze boundary: which layers are frozen, and the deepest tensor whose values can be kept."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import keras
import pandas as pd

from stages.base.stage import UserError

NO_BLOCKS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Boundary:
    """What ``extract.freeze`` means for one backbone.

    Attributes:
        frozen: how many of ``backbone.layers``, from the front, are frozen.
        layer: the layer whose output is kept: the deepest that every path from input to output goes through and that
            has only frozen layers up to it. (It may be an operation such as the ``x + y`` of ConvNeXt, which Keras does
            not count among the layers.) None when that is the input, so that pixels are kept.
    """

    frozen: int
    layer: str | None


def boundary(
    backbone: keras.Model, freeze: int | str, blocks: Mapping[str, str] = NO_BLOCKS, key: str = "extract.freeze"
) -> Boundary:
    """Resolve ``freeze`` for ``backbone``.

    Args:
        freeze: ``all``, ``none``, the name of a block or layer (thaw from there), or a count n with the meaning of
            ``layers[:n]`` are frozen.
        blocks: the names of the backbone's blocks, each with the first of its layers, from the input on.
        key: the one of params.yaml that holds ``freeze``, for messages.

    Raises:
        UserError: no layer or block has that name, or the count goes beyond the layers.
    """
    names = [layer.name for layer in backbone.layers]
    frozen = frozen_count(names, freeze, blocks, key)
    config = backbone.get_config()
    parents = parents_of(config)
    unfrozen = set(names[frozen:])
    inputs = {name for name in names if not parents[name]}
    output = str(keras.tree.flatten(config["output_layers"])[0])
    kept = None
    for name in _bottlenecks(parents, output):
        if name in unfrozen or _ancestors(name, parents) & unfrozen:
            break
        kept = name
    return Boundary(frozen, None if kept in inputs else kept)


def frozen_count(
    names: Sequence[str], freeze: int | str, blocks: Mapping[str, str] = NO_BLOCKS, key: str = "extract.freeze"
) -> int:
    """Return how many of the layers ``names`` are frozen, 0 to ``len(names)``; see ``boundary``."""
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
    for index, name in enumerate(names):
        if name.startswith((f"{freeze}_", f"{freeze}.")):
            return index
    known = [*blocks, *names]
    close = difflib.get_close_matches(freeze, known, n=3) or [name for name in known if freeze in name][:3]
    hint = f" Did you mean {' or '.join(dict.fromkeys(close))}?" if close else ""
    listed = f"blocks: {', '.join(blocks)}; layers: " if blocks else ""
    raise UserError(
        f"{key}: expected 'all', 'none', a count, or a layer or block of the backbone "
        f"({listed}{names[0]}, {names[1]} … {names[-1]}); received '{freeze}'.{hint}"
    )


def parents_of(config: dict[str, Any]) -> dict[str, set[str]]:
    """Return, for each layer of a functional model's config, the layers whose outputs it takes, inputs first.

    The config knows more than ``layers``: an operation such as ``x + 3`` (MobileNetV3) stands among them.
    """
    return {layer["name"]: set(_histories(layer["inbound_nodes"])) for layer in config["layers"]}


def _histories(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "keras_history" in node:
            yield node["keras_history"][0]
        for value in node.values():
            yield from _histories(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _histories(value)


def _ancestors(name: str, parents: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    queue = [name]
    while queue:
        for parent in parents[queue.pop()] - found:
            found.add(parent)
            queue.append(parent)
    return found


def _bottlenecks(parents: dict[str, set[str]], output: str) -> list[str]:
    """Return the layers that every path from the input to ``output`` goes through, from the input on.

    These are the dominators of the output. Layers come in topological order, so one sweep finds them.
    """
    dominators: dict[str, set[str]] = {}
    for name in parents:
        above = [dominators[parent] for parent in parents[name]]
        dominators[name] = {name} | (set.intersection(*above) if above else set())
    return [name for name in parents if name in dominators[output]]


def thaw(backbone: keras.Model, frozen: int, train_batchnorm: bool) -> None:
    """Freeze the first ``frozen`` layers of ``backbone`` for training, and thaw the others.

    ``training=False`` inside a functional model does nothing during ``fit`` (keras-team/keras#20285); what holds is
    ``trainable = False`` on each BatchNormalization layer, and no dropout in frozen layers.

    Args:
        train_batchnorm: whether thawed BatchNormalization layers train too; otherwise they keep what they learned.
    """
    for index, layer in enumerate(backbone.layers):
        layer.trainable = index >= frozen and (train_batchnorm or not _is_batchnorm(layer))
        if index < frozen and isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0


def layer_table(backbone: keras.Model, frozen: int, train_batchnorm: bool) -> pd.DataFrame:
    """Return one row a layer: index, name, type, parameters, and state.

    The state is ``frozen``, ``thawed``, or ``inference`` for a BatchNormalization layer among the thawed that keeps
    its statistics and scale.
    """
    rows = []
    for index, layer in enumerate(backbone.layers):
        state = "frozen" if index < frozen else "thawed"
        if state == "thawed" and _is_batchnorm(layer) and not train_batchnorm:
            state = "inference"
        rows.append((index, layer.name, type(layer).__name__, layer.count_params(), state))
    return pd.DataFrame(rows, columns=["index", "name", "type", "parameters", "state"])


def _is_batchnorm(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)
