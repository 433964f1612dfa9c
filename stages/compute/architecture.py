"""The architecture of a backbone, layer by layer, as plain values: no framework is imported."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.base.files import read_json, refuse_damaged

PIXELS, FEATURES = "pixels", "features"  # stored arrays that are not outputs of a layer


def name_features(pooling: str) -> str:
    """Return the name that the features have in the backbone's graph; ``pooling`` as in ``extract.pooling``."""
    return f"{FEATURES}_{pooling}"


A_GRAPH = "an ONNX network, which can only be run, not thawed"  # of a backbone, in messages

NETWORK, GRAPH = "network.json", "backbone.onnx"  # in the folder that ``pretrain`` writes


@dataclass(frozen=True)
class Layer:
    """A layer, or an operation between layers such as the ``x + 3`` of MobileNetV3.

    Attributes:
        name: unique in the backbone.
        type: its class in Keras.
        shape: of its output, without the number of images.
        parameters: how many.
        inputs: names of the layers whose outputs it takes.
        counted: whether Keras counts it among the layers of a model; operations are not counted.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    parameters: int
    inputs: tuple[str, ...]
    counted: bool = True


@dataclass(frozen=True)
class Architecture:
    """A backbone: from preprocessed images to feature maps or vectors.

    Attributes:
        operations: layers, and operations between them, in topological order.
        output: name of the last.
        blocks: names of the blocks, each with the first of its layers, from the input on.
        classifier: the layers after the backbone, such as Dropout and Dense, that were cut off a whole model. Counts in
            ``extract.freeze`` include them, as ``model.layers`` in Keras does.
        trainable: whether it is a Keras network; if not, it is an ONNX graph, which can only be run.
        largest: size of the largest tensor for one image inside an ONNX graph, which has no layers to tell.
        of_hub: whether it has KerasHub layers, which need KerasHub installed to be thawed.
    """

    operations: tuple[Layer, ...]
    output: str
    blocks: Mapping[str, str]
    classifier: tuple[Layer, ...] = ()
    trainable: bool = True
    largest: int = 0
    of_hub: bool = False

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers, as Keras counts them."""
        return [layer for layer in self.operations if layer.counted]

    @cached_property
    def names(self) -> list[str]:
        """The names of the layers."""
        return [layer.name for layer in self.layers]

    @property
    def pixels(self) -> tuple[int, ...]:
        """The shape of an image: side, side, channels."""
        return self.operations[0].shape

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the output of the layer or operation ``name``."""
        return next(layer.shape for layer in self.operations if layer.name == name)

    def features(self, pooling: str) -> int:
        """Return how many features an image has, pooled as ``stages.compute.networks.pool`` does."""
        shape = self.shape(self.output)
        return math.prod(shape) if pooling == "none" else shape[-1]

    @cached_property
    def dominators(self) -> list[str]:
        """The layers and operations that every path from the input to the output goes through, from the input on.

        One sweep finds them, since operations are in topological order.
        """
        dominators: dict[str, set[str]] = {}
        for layer in self.operations:
            above = [dominators[name] for name in layer.inputs]
            dominators[layer.name] = {layer.name} | (set.intersection(*above) if above else set())
        return [layer.name for layer in self.operations if layer.name in dominators[self.output]]

    def ancestors(self, name: str) -> set[str]:
        """Return the names of all layers and operations that ``name`` depends on."""
        inputs = {layer.name: layer.inputs for layer in self.operations}
        found, queue = set[str](), [name]
        while queue:
            new = set(inputs[queue.pop()]) - found
            found |= new
            queue += new
        return found


def describe(backbone: Any, blocks: Mapping[str, str]) -> Architecture:
    """Return the architecture of a functional Keras model of one input and one output.

    Args:
        backbone: the model.
        blocks: as in ``Architecture``.
    """
    config = backbone.get_config()
    inputs = {layer["name"]: tuple(dict.fromkeys(_histories(layer["inbound_nodes"]))) for layer in config["layers"]}
    counted = {layer.name for layer in backbone.layers}
    operations = [
        Layer(
            name=one.name,
            type=type(one).__name__,
            shape=tuple(one.output.shape[1:]),
            parameters=one.count_params() if one.name in counted else 0,
            inputs=inputs[one.name],
            counted=one.name in counted,
        )
        for one in backbone.operations
    ]
    return Architecture(tuple(operations), backbone.output._keras_history.operation.name, dict(blocks))


def _histories(node: Any) -> Iterator[str]:
    """Yield the names of the layers whose outputs a node of a model config takes."""
    if isinstance(node, dict):
        if "keras_history" in node:
            yield node["keras_history"][0]
        for value in node.values():
            yield from _histories(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _histories(value)


def from_json(content: dict[str, Any]) -> Architecture:
    """Return an architecture from its ``dataclasses.asdict``."""

    def read(layers: list[dict[str, Any]]) -> tuple[Layer, ...]:
        return tuple(Layer(**layer | {key: tuple(layer[key]) for key in ("shape", "inputs")}) for layer in layers)

    layers = {key: read(content[key]) for key in ("operations", "classifier")}
    return Architecture(**{**content, **layers})


def read_architecture(folder: Path) -> Architecture:
    """Read the architecture of the backbone from the folder that ``pretrain`` wrote.

    Raises:
        UserError: it is missing or damaged.
    """
    content = read_network(folder)
    with refuse_damaged(folder / NETWORK, "a network's description"):
        return from_json(content["architecture"])


def read_network(folder: Path) -> dict[str, Any]:
    """Read ``network.json``; see ``stages.backbones.pretrained``.

    Raises:
        UserError: it is missing or damaged.
    """
    content: dict[str, Any] = read_json(folder / NETWORK)
    return content
