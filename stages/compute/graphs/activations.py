"""Activation functions of Keras as nodes of an ONNX graph."""

from collections.abc import Callable
from typing import Any

from stages.compute.graphs.writer import Convert, Tensor, Writer, to_array
from stages.compute.runtime import keras


def activate(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    """Apply the layer's activation function."""
    name = getattr(layer.activation, "__name__", str(layer.activation))
    if getattr(keras.activations, name, None) is not layer.activation or name not in ACTIVATIONS:
        raise NotImplementedError(f"the activation {name}")
    return ACTIVATIONS[name](writer, x)


def clip(writer: Writer, x: Tensor, highest: float) -> Tensor:
    """Bound values between 0 and ``highest``."""
    return writer.node("Clip", [x, 0.0, float(highest)], x)


def _silu(writer: Writer, x: Tensor) -> Tensor:
    return writer.node("Mul", [x, writer.node("Sigmoid", [x], x)], x)


def _gelu(writer: Writer, x: Tensor) -> Tensor:
    """Write x * Φ(x) with erf."""
    share = writer.node("Erf", [writer.node("Mul", [x, 0.5**0.5], x)], x)
    share = writer.node("Mul", [writer.node("Add", [share, 1.0], x), 0.5], x)
    return writer.node("Mul", [x, share], x)


ACTIVATIONS: dict[str, Callable[[Writer, Tensor], Tensor]] = {
    "linear": lambda writer, x: x,
    "relu": lambda writer, x: writer.node("Relu", [x], x),
    "relu6": lambda writer, x: clip(writer, x, 6),
    "sigmoid": lambda writer, x: writer.node("Sigmoid", [x], x),
    "tanh": lambda writer, x: writer.node("Tanh", [x], x),
    "silu": _silu,
    "gelu": _gelu,
    "hard_sigmoid": lambda writer, x: writer.node("HardSigmoid", [x], x, alpha=1 / 6, beta=0.5),
    "hard_silu": lambda writer, x: writer.node("HardSwish", [x], x),
    "leaky_relu": lambda writer, x: writer.node("LeakyRelu", [x], x, alpha=0.2),
    "elu": lambda writer, x: writer.node("Elu", [x], x),
    "selu": lambda writer, x: writer.node("Selu", [x], x),
    "softplus": lambda writer, x: writer.node("Softplus", [x], x),
    "softsign": lambda writer, x: writer.node("Softsign", [x], x),
    "softmax": lambda writer, x: _softmax(writer, x, -1),
}


def _softmax(writer: Writer, x: Tensor, axis: int) -> Tensor:
    x = writer.channels_last(x)
    return writer.node("Softmax", [x], x, axis=axis)


def _softmax_layer(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    if not isinstance(layer.axis, int):
        raise NotImplementedError(f"Softmax over axes {layer.axis}")
    return _softmax(writer, x, layer.axis)


def _relu(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    if layer.threshold or (layer.negative_slope and layer.max_value is not None):
        raise NotImplementedError("ReLU with a threshold, or a slope and a maximum")
    if layer.negative_slope:
        return writer.node("LeakyRelu", [x], x, alpha=float(layer.negative_slope))
    return ACTIVATIONS["relu"](writer, x) if layer.max_value is None else clip(writer, x, layer.max_value)


def _leaky_relu(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    return writer.node("LeakyRelu", [x], x, alpha=float(layer.negative_slope))


def _prelu(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    x = writer.channels_last(x)
    return writer.node("PRelu", [x, to_array(layer.alpha)], x)


def _elu(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    return writer.node("Elu", [x], x, alpha=float(layer.alpha))


ACTIVATION_LAYERS: dict[str, Convert] = {
    "Activation": activate,
    "ReLU": _relu,
    "Silu": lambda writer, operation, x: ACTIVATIONS["silu"](writer, x),
    "LeakyReLU": _leaky_relu,
    "PReLU": _prelu,
    "ELU": _elu,
    "Softmax": _softmax_layer,
}
