"""Keras layers as nodes of an ONNX graph, in inference.

Each function takes the writer, the layer and its inputs. Weights are arrays in float32; what is computed from them is
computed by NumPy in float64, so that every processor writes the same graph.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from stages.compute.graphs.activations import ACTIVATIONS, activate, clip
from stages.compute.graphs.transformers import add_tokens, attention, dinov2_tokens, to_array, vit_tokens
from stages.compute.graphs.writer import Tensor, Writer
from stages.compute.runtime import keras

Convert = Callable[..., Any]


def _input(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    return x


def _convolution(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    return activate(writer, layer, _convolve(writer, layer, x, to_array(layer.kernel), layer.groups, layer.use_bias))


def _depthwise(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    kernel, groups = _depthwise_kernel(layer.kernel)
    return activate(writer, layer, _convolve(writer, layer, x, kernel, groups, layer.use_bias))


def _separable(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    kernel, groups = _depthwise_kernel(layer.depthwise_kernel)
    x = _convolve(writer, layer, x, kernel, groups, False)
    pointwise = to_array(layer.pointwise_kernel).transpose(3, 2, 0, 1)
    x = writer.node("Conv", [x, pointwise, *([to_array(layer.bias)] if layer.use_bias else [])], x)
    return activate(writer, layer, x)


def _depthwise_kernel(kernel: Any) -> tuple[np.ndarray, int]:
    """Return (h, w, c, m) as (h, w, 1, c * m), and c."""
    array = to_array(kernel)
    return array.reshape(*array.shape[:2], 1, -1), array.shape[2]


def _convolve(writer: Writer, layer: Any, x: Tensor, kernel: np.ndarray, groups: int, bias: bool) -> Tensor:
    x = writer.channels_first(x)
    weights = [kernel.transpose(3, 2, 0, 1), *([to_array(layer.bias)] if bias else [])]
    window = {"strides": layer.strides, "dilations": layer.dilation_rate, "group": groups}
    if layer.padding == "valid" and x.pads:
        return writer.node("Conv", [replace(x, pads=()), *weights], x, pads=x.pads, **window)
    return writer.node("Conv", [x, *weights], x, auto_pad=_padding(layer), **window)


def _padding(layer: Any) -> str:
    return {"same": "SAME_UPPER", "valid": "VALID"}[layer.padding]


def _dense(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    x = writer.channels_last(x)
    x = writer.node("MatMul", [x, to_array(layer.kernel)], x)
    if layer.use_bias:
        x = writer.node("Add", [x, to_array(layer.bias)], x)
    return activate(writer, layer, x)


def _batchnorm(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    """Write x * scale + offset: as BatchNormalization of mean 0 and variance 1, which runtimes fuse into convolutions.

    Scale and offset are what the layer's statistics come to (Jacob et al. 2018, section 3.2).
    """
    if layer.axis not in (-1, x.rank - 1):
        raise NotImplementedError(f"BatchNormalization over axis {layer.axis}")
    x = writer.channels_first(x) if x.rank == 4 else x
    mean, variance = (to_array(value).astype(np.float64) for value in (layer.moving_mean, layer.moving_variance))
    scale = (to_array(layer.gamma) if layer.scale else 1.0) / np.sqrt(variance + layer.epsilon)
    offset = (to_array(layer.beta) if layer.center else 0.0) - mean * scale
    nothing, one = np.zeros_like(mean, np.float32), np.ones_like(mean, np.float32)
    inputs = [x, scale.astype(np.float32), offset.astype(np.float32), nothing, one]
    return writer.node("BatchNormalization", inputs, x, epsilon=0.0)


def _layernorm(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    if list(layer.axis) not in ([-1], [x.rank - 1]):
        raise NotImplementedError(f"LayerNormalization over axes {layer.axis}")
    x, size = writer.channels_last(x), layer.input.shape[-1]
    scale = to_array(layer.gamma) if layer.scale else np.ones(size, np.float32)
    offset = to_array(layer.beta) if layer.center else np.zeros(size, np.float32)
    return writer.node("LayerNormalization", [x, scale, offset], x, axis=-1, epsilon=layer.epsilon)


def _normalization(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    x = writer.channels_last(x)
    x = writer.node("Sub", [x, to_array(layer.mean)], x)
    return writer.node("Div", [x, np.maximum(np.sqrt(to_array(layer.variance)), np.float32(keras.config.epsilon()))], x)


def _rescaling(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    x, (scale, offset) = writer.channels_last(x), (np.asarray(v, np.float32) for v in (layer.scale, layer.offset))
    if np.any(scale != 1):
        x = writer.node("Mul", [x, scale], x)
    return writer.node("Add", [x, offset], x) if np.any(offset != 0) else x


def _pooling(kind: str) -> Convert:
    def convert(writer: Writer, layer: Any, x: Tensor) -> Tensor:
        x = writer.channels_first(x)
        window = {"kernel_shape": layer.pool_size, "strides": layer.strides}
        return writer.node(kind, [x], x, auto_pad=_padding(layer), **window)

    return convert


def _global_pooling(kind: str) -> Convert:
    def convert(writer: Writer, layer: Any, x: Tensor) -> Tensor:
        x = writer.channels_first(x)
        x = writer.node(kind, [x], x)
        return x if layer.keepdims else writer.node("Flatten", [x], Tensor("", 2))

    return convert


def _pad(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    x, ((top, bottom), (left, right)) = writer.padded(writer.channels_first(x)), layer.padding
    return replace(x, pads=(top, left, bottom, right))


def _crop(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    x, (vertical, horizontal) = writer.channels_first(x), layer.cropping
    starts = np.array([vertical[0], horizontal[0]])
    ends = np.array([-last if last else np.iinfo(np.int64).max for last in (vertical[1], horizontal[1])])
    return writer.node("Slice", [x, starts, ends, np.array([2, 3])], x)


def _flatten(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    return writer.node("Flatten", [writer.channels_last(x)], Tensor("", 2))


def _reshape(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    shape = np.array([0, *layer.target_shape])  # 0: as many images as there are
    return writer.node("Reshape", [writer.channels_last(x), shape], Tensor("", len(shape)))


def _merge(kind: str) -> Convert:
    def convert(writer: Writer, layer: Any, x: Any, y: Any = None) -> Tensor:
        return _combine(writer, kind, list(x) if y is None else [x, y])

    return convert


def _combine(writer: Writer, kind: str, inputs: list[Any]) -> Tensor:
    """Add or multiply tensors and numbers, one after the other."""
    total, *others = _alike(writer, inputs)
    like: Tensor = next(x for x in (total, *others) if isinstance(x, Tensor))
    for other in others:
        total = writer.node(kind, [total, other], like)
    return replace(like, name=total.name)


def _alike(writer: Writer, inputs: list[Any]) -> list[Any]:
    """Return tensors in one layout, and numbers and weights as arrays."""
    maps = any(isinstance(x, Tensor) and x.channels_first for x in inputs)
    arrange = writer.channels_first if maps else writer.channels_last
    others = {id(x): to_array(x) for x in inputs if not isinstance(x, Tensor)}
    if maps and any(array.ndim for array in others.values()):
        raise NotImplementedError("an operation on feature maps and weights")
    return [arrange(x) if isinstance(x, Tensor) else others[id(x)] for x in inputs]


def _concatenate(writer: Writer, layer: Any, inputs: Any) -> Tensor:
    first, *others = _alike(writer, list(inputs))
    axis = layer.axis % first.rank
    axis = (0, 2, 3, 1)[axis] if first.channels_first else axis
    return writer.node("Concat", [first, *others], first, axis=axis)


def _weighted_sum(writer: Writer, layer: Any, inputs: Any) -> Tensor:
    x, branch = _alike(writer, list(inputs))
    return writer.node("Add", [x, writer.node("Mul", [branch, float(layer.scale)], branch)], x)


def _layer_scale(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    x = writer.channels_last(x)
    return writer.node("Mul", [x, to_array(layer.gamma)], x)


def _take(writer: Writer, layer: Any, x: Tensor, indices: Any = None) -> Tensor:
    x = writer.channels_last(x)
    return writer.node("Gather", [x, np.asarray(layer.indices if indices is None else indices)], x, axis=layer.axis)


def _split(writer: Writer, operation: Any, x: Tensor) -> list[Tensor]:
    ends = np.cumsum([part.shape[operation.axis] for part in operation.output])
    x, axis = writer.channels_last(x), np.array([operation.axis])
    return [
        writer.node("Slice", [x, np.array([start]), np.array([end]), axis], x)
        for start, end in zip([0, *ends[:-1]], ends, strict=True)
    ]


def _vit_embedding(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    return add_tokens(writer, _convolution(writer, layer.patch_embedding, x), *vit_tokens(layer))


def _dinov2_embedding(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    return add_tokens(writer, _convolution(writer, layer.patch_embeddings.projection, x), *dinov2_tokens(layer))


def _dinov2_scale(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    return writer.node("Mul", [x, to_array(layer.lambda1)], x)


def _relu(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    if layer.negative_slope or layer.threshold:
        raise NotImplementedError("ReLU with a slope or threshold")
    return ACTIVATIONS["relu"](writer, x) if layer.max_value is None else clip(writer, x, layer.max_value)


# By the name of the class, for some are private to a network of keras.applications.
LAYERS: dict[str, Convert] = {
    "InputLayer": _input,
    "Dropout": _input,
    "Conv2D": _convolution,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
    "Dense": _dense,
    "BatchNormalization": _batchnorm,
    "LayerNormalization": _layernorm,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
    "MaxPooling2D": _pooling("MaxPool"),
    "AveragePooling2D": _pooling("AveragePool"),
    "GlobalAveragePooling2D": _global_pooling("GlobalAveragePool"),
    "GlobalMaxPooling2D": _global_pooling("GlobalMaxPool"),
    "ZeroPadding2D": _pad,
    "Cropping2D": _crop,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "ReLU": _relu,
    "Activation": activate,
    "Add": _merge("Add"),  # the layer, and the operation x + y
    "Multiply": _merge("Mul"),
    "Concatenate": _concatenate,
    "Take": _take,
    "CustomScaleLayer": _weighted_sum,  # InceptionResNetV2
    "LayerScale": _layer_scale,  # ConvNeXt
    "Identity": _input,
    "MultiHeadAttention": attention,
    "Silu": lambda writer, operation, x: ACTIVATIONS["silu"](writer, x),
    "Split": _split,
    "ViTPatchingAndEmbedding": _vit_embedding,  # these are KerasHub's
    "DINOV2Embedding": _dinov2_embedding,
    "DINOV2LayerScale": _dinov2_scale,
    "DINOV2DropPath": _input,
}
