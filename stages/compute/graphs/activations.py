"""Activation functions of Keras as nodes of an ONNX graph."""

from collections.abc import Callable
from typing import Any

from stages.compute.graphs.writer import Tensor, Writer
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
}
