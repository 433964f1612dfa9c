"""Flatten a whole Keras model, nested models included, and cut it into backbone and classifier."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from stages.base.errors import UserError
from stages.compute.architecture import FEATURES, PIXELS, Architecture, Layer, describe, name_features
from stages.compute.graphs.layers import LAYERS
from stages.compute.hub import copy_config, copy_weights, is_of_hub, unfold
from stages.compute.networks import POOLINGS, Model
from stages.compute.runtime import keras

_RESERVED = {PIXELS, FEATURES, "logits", *map(name_features, POOLINGS)}  # names of other tensors
_OPERATIONS = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}  # that are activations
_CLASSIFYING = (*_OPERATIONS.values(), "linear")  # activations of a classifier


@dataclass(frozen=True)
class FlatNetwork:
    """A network without nested models.

    Attributes:
        model: functional, with copies of the layers.
        ends: the last layer of each nested model with one output, by the model's name.
        counts_input: whether Keras counts the input as a layer: it does unless the model is Sequential.
    """

    model: Model
    ends: dict[str, str]
    counts_input: bool


@dataclass(frozen=True)
class CutNetwork:
    """A network, cut into backbone and classifier.

    Attributes:
        backbone: the layers before the classifier.
        architecture: of the backbone; its ``classifier`` lists the layers after it.
        weights: kernel (features, classes) and bias (classes,) of the classifier; None if what follows the backbone is
            neither a softmax over the classes nor a sigmoid for the second of two.
    """

    backbone: Model
    architecture: Architecture
    weights: tuple[np.ndarray, np.ndarray] | None


def flatten(network: Model, side: int) -> FlatNetwork:
    """Return a network with one input and one output as a single functional model for images of ``side`` pixels.

    Layers of nested models keep their names; if a name is taken, the model's name is put before it. A KerasHub layer
    is replaced by the layers inside it, one level deep: an encoder by its blocks, named block_0, block_1 and so on.
    Layers that augment images during training become ``Identity``, because ``extract.augment`` replaces them.

    Args:
        network: functional or Sequential; may contain nested models.
        side: of the images.

    Raises:
        UserError: a layer is used more than once.
    """
    copies = _Copies()
    image = keras.Input((side, side, network.input_shape[-1]), name=copies.name("image"))
    output = copies.run(network, image, "")
    flat = keras.Model(image, output, name="backbone")
    for layer, copy in copies.pairs:
        copy_weights(layer, copy)
    return FlatNetwork(flat, copies.ends, _counts_input(network))


def cut_classifier(
    flat: FlatNetwork, end: str | None, find_blocks: Callable[[list[str]], dict[str, str]]
) -> CutNetwork | None:
    """Cut a network into the backbone and the classifier after it.

    The classifier is the last Dense layer, with any Dropout before it and any activation after it.

    Args:
        flat: the network.
        end: the last layer of the backbone, or the nested model that ends there; None: the layer before the
            classifier, or the whole network if it has none.
        find_blocks: takes the names of the backbone's layers; returns the first layer of each block.

    Returns:
        None if there is no layer ``end``, or the classifier does not end in a Dense layer.
    """
    whole = describe(flat.model, {})
    rows = {row.name: row for row in whole.operations}
    dense, activations = _find_classifier(flat.model, whole, rows)
    last = flat.ends.get(end or "", end)
    if last is None:
        if dense is None and activations:
            return None
        last = whole.output if dense is None else _before(rows, dense)
    if last not in rows:
        return None
    backbone = keras.Model(flat.model.input, _operation(flat.model, last).output, name="backbone")
    architecture = describe(backbone, {})
    operations = architecture.operations
    if not flat.counts_input:
        operations = (replace(operations[0], counted=False), *operations[1:])
    kept = {row.name for row in operations}
    rest = tuple(row for row in whole.operations if row.name not in kept)
    architecture = Architecture(operations, architecture.output, {}, rest)
    blocks = find_blocks(architecture.names)
    weights = None
    if dense is not None and _before(rows, dense) == last:
        layer = flat.model.get_layer(dense)
        known = (["sigmoid"],) if layer.units == 1 else (["softmax"], ["log_softmax"])
        weights = _weights(layer) if activations in ([], *known) else None
    return CutNetwork(backbone, replace(architecture, blocks=blocks), weights)


def add_softmax(flat: FlatNetwork) -> Model:
    """Add a softmax to a network whose last Dense layer returns logits.

    Args:
        flat: the network; shares its layers with the result. If its classifier has one output, for the second of two
            classes, the new classifier has two.
    """
    dense = next(layer for layer in reversed(flat.model.layers) if isinstance(layer, keras.layers.Dense))
    kernel, bias = _weights(dense)
    both = keras.layers.Dense(len(bias), activation="softmax", name=dense.name)
    model = keras.Model(flat.model.input, both(dense.input), name="thaw")
    both.set_weights([kernel, bias])
    return model


@dataclass
class _Copies:
    """Copies the layers of a network, under the names that they have in the flat network."""

    pairs: list[tuple[Any, Any]] = field(default_factory=list)
    ends: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)
    blocks: int = 0

    def run(self, network: Model, x: Any, prefix: str) -> Any:
        if isinstance(network, keras.Sequential):
            for layer in network.layers:
                x = self.call(prefix, layer, x)
        else:
            x = network._run_through_graph(x, operation_fn=lambda operation: partial(self.call, prefix, operation))
        tensors = keras.tree.flatten(x)
        if len(tensors) > 1:  # of a nested model
            return x
        if prefix:
            self.ends[prefix] = tensors[0]._keras_history.operation.name
        return tensors[0]

    def call(self, prefix: str, layer: Any, *inputs: Any, **options: Any) -> Any:
        if id(layer) in self.seen:
            raise UserError(f"the layer {layer.name} is used more than once")
        self.seen.add(id(layer))
        if isinstance(layer, keras.Model):
            return self.run(layer, inputs[0], layer.name)
        name = layer.name
        if is_of_hub(layer) and type(layer).__name__ not in LAYERS:
            if not prefix:
                return unfold(layer)._run_through_graph(
                    inputs[0], operation_fn=lambda operation: partial(self.call, layer.name, operation)
                )
            name, self.blocks = f"block_{self.blocks}", self.blocks + 1
        copy = _copy(layer, self.name(name, prefix))
        options = {key: value for key, value in options.items() if key not in ("training", "mask")}
        output = copy(*inputs, **options)
        if isinstance(copy, keras.Layer) and copy.weights:
            self.pairs.append((layer, copy))
        return output

    def name(self, name: str, prefix: str = "") -> str:
        if name in self.names | _RESERVED and prefix:
            name = f"{prefix}_{name}"
        unique, number = name, 1
        while unique in self.names | _RESERVED:
            unique, number = f"{name}_{number}", number + 1
        self.names.add(unique)
        return unique


def _copy(layer: Any, name: str) -> Any:
    """Return a copy of a layer or operation, in float32 and with new weights."""
    kind = type(layer).__name__
    if (kind != "RandomCrop" and kind.startswith("Random")) or kind in _AUGMENTING:
        return keras.layers.Identity(name=name)
    config = (copy_config(layer) if is_of_hub(layer) else layer.get_config()) | {"name": name}
    if isinstance(layer, keras.Layer):
        config["dtype"] = "float32"
    if isinstance(layer, keras.layers.Normalization) and config["mean"] is None:  # learned by adapt()
        config |= {
            "mean": keras.ops.convert_to_numpy(layer.adapt_mean).tolist(),
            "variance": keras.ops.convert_to_numpy(layer.adapt_variance).tolist(),
        }
    return type(layer).from_config(config)


_AUGMENTING = ("RandAugment", "AugMix", "MixUp", "CutMix", "GaussianNoise", "GaussianDropout", "AlphaDropout")


def _counts_input(network: Model) -> bool:
    if isinstance(network, keras.Sequential):
        return isinstance(network.layers[0], keras.Model) and _counts_input(network.layers[0])
    return True


def _find_classifier(model: Model, whole: Architecture, rows: dict[str, Layer]) -> tuple[str | None, list[str]]:
    """Return the last Dense layer if it is a classifier, and the final activations of the network, last first."""
    row, found = rows[whole.output], list[str]()
    while True:
        layer = _operation(model, row.name)
        activation = getattr(getattr(layer, "activation", None), "__name__", _OPERATIONS.get(row.type, ""))
        if activation in _OPERATIONS.values():
            found.append(activation)
        if row.type == "Dense" and activation in _CLASSIFYING and len(row.shape) == 1:
            return row.name, found
        if row.type not in ("Activation", *_OPERATIONS) or activation not in _CLASSIFYING:
            return None, found
        row = rows[row.inputs[0]]


def _before(rows: dict[str, Layer], dense: str) -> str:
    row = rows[rows[dense].inputs[0]]
    while row.type == "Dropout":
        row = rows[row.inputs[0]]
    return row.name


def _weights(dense: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias; a single output, for the second of two classes, becomes two outputs."""
    kernel = np.asarray(keras.ops.convert_to_numpy(dense.kernel))
    bias = np.asarray(keras.ops.convert_to_numpy(dense.bias)) if dense.use_bias else np.zeros(dense.units, np.float32)
    if dense.units == 1:  # a softmax over (0, z) is the sigmoid of z
        return np.concatenate([np.zeros_like(kernel), kernel], axis=1), np.concatenate([np.zeros_like(bias), bias])
    return kernel, bias


def _operation(model: Model, name: str) -> Any:
    return next(operation for operation in model.operations if operation.name == name)
