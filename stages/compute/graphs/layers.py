"""Keras layers as nodes of an ONNX graph, in inference.

Each function takes the writer, the layer and its inputs. Weights are arrays in float32; what is computed from them is
computed by NumPy in float64, so that every processor writes the same graph.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from stages.compute.graphs.activations import ACTIVATION_LAYERS, activate
from stages.compute.graphs.arithmetic import ARITHMETIC
from stages.compute.graphs.transformers import add_tokens, attention, dinov2_tokens, vit_tokens
from stages.compute.graphs.writer import Convert, Tensor, Writer, to_array
from stages.compute.runtime import keras


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
    if layer.invert:
        raise NotImplementedError("Normalization with invert=True")
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


def _token_pooling(kind: str) -> Convert:
    def convert(writer: Writer, layer: Any, x: Tensor) -> Tensor:
        rank = x.rank if layer.keepdims else x.rank - 1
        return writer.node(kind, [x], Tensor("", rank), axes=[1], keepdims=int(layer.keepdims))

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


def _transposed_convolution(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    """Write a transposed convolution, padded like the convolution whose gradient it is."""
    if layer.output_padding is not None or set(layer.dilation_rate) != {1}:
        raise NotImplementedError("Conv2DTranspose with output_padding or dilation_rate")
    excess = [size - stride for size, stride in zip(layer.kernel_size, layer.strides, strict=True)]
    pads = [max(each, 0) if layer.padding == "same" else 0 for each in excess]
    weights = [to_array(layer.kernel).transpose(3, 2, 0, 1), *([to_array(layer.bias)] if layer.use_bias else [])]
    x = writer.node(
        "ConvTranspose",
        [writer.channels_first(x), *weights],
        x,
        strides=layer.strides,
        pads=[*(pad // 2 for pad in pads), *(pad - pad // 2 for pad in pads)],
        output_padding=[max(-each, 0) for each in excess],
    )
    return activate(writer, layer, replace(x, channels_first=True))


def _group_norm(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    """Write GroupNormalization as InstanceNormalization over groups, with scale and offset per channel."""
    if x.rank != 4 or layer.axis not in (-1, 3):
        raise NotImplementedError(f"GroupNormalization over axis {layer.axis} of {x.rank} dimensions")
    x = writer.channels_first(x)
    height, width, channels = layer.input.shape[1:]
    groups = channels if layer.groups == -1 else layer.groups
    rows = writer.node("Reshape", [x, np.array([0, groups, -1])], Tensor("", 3))
    one, nothing = np.ones(groups, np.float32), np.zeros(groups, np.float32)
    rows = writer.node("InstanceNormalization", [rows, one, nothing], rows, epsilon=layer.epsilon)
    x = writer.node("Reshape", [rows, np.array([0, channels, height, width])], x)
    if layer.scale:
        x = writer.node("Mul", [x, to_array(layer.gamma).reshape(-1, 1, 1)], x)
    return writer.node("Add", [x, to_array(layer.beta).reshape(-1, 1, 1)], x) if layer.center else x


def _upsample(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    return _resize(writer, x, layer.interpolation, {"scales": np.array([1, 1, *layer.size], np.float32)})


def _resizing(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    if layer.crop_to_aspect_ratio or layer.pad_to_aspect_ratio or layer.antialias:
        raise NotImplementedError("Resizing with cropping, padding or antialiasing")
    sizes = np.array([layer.input.shape[-1], layer.height, layer.width])
    return _resize(writer, x, layer.interpolation, {"sizes": sizes})


def _resize(writer: Writer, x: Tensor, interpolation: str, target: dict[str, np.ndarray]) -> Tensor:
    """Resize feature maps; coordinates are those of pixel centers (half_pixel)."""
    modes = {"nearest": ("nearest", "round_prefer_ceil"), "bilinear": ("linear", "round_prefer_floor")}
    if interpolation not in modes:
        raise NotImplementedError(f"the interpolation {interpolation}")
    mode, rounding = modes[interpolation]
    return writer.resize(writer.channels_first(x), target, mode=mode, nearest_mode=rounding)


def _vit_embedding(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    return add_tokens(writer, _convolution(writer, layer.patch_embedding, x), *vit_tokens(layer))


def _dinov2_embedding(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    return add_tokens(writer, _convolution(writer, layer.patch_embeddings.projection, x), *dinov2_tokens(layer))


def _dinov2_scale(writer: Writer, layer: Any, x: Tensor) -> Tensor:
    return writer.node("Mul", [x, to_array(layer.lambda1)], x)


# By the name of the class, for some are private to a network of keras.applications.
LAYERS: dict[str, Convert] = {
    "InputLayer": _input,
    "Identity": _input,
    "Dropout": _input,
    "SpatialDropout2D": _input,
    "ActivityRegularization": _input,
    "Conv2D": _convolution,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
    "Conv2DTranspose": _transposed_convolution,
    "Dense": _dense,
    "BatchNormalization": _batchnorm,
    "LayerNormalization": _layernorm,
    "GroupNormalization": _group_norm,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
    "MaxPooling2D": _pooling("MaxPool"),
    "AveragePooling2D": _pooling("AveragePool"),
    "GlobalAveragePooling2D": _global_pooling("GlobalAveragePool"),
    "GlobalMaxPooling2D": _global_pooling("GlobalMaxPool"),
    "GlobalAveragePooling1D": _token_pooling("ReduceMean"),
    "GlobalMaxPooling1D": _token_pooling("ReduceMax"),
    "ZeroPadding2D": _pad,
    "Cropping2D": _crop,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "UpSampling2D": _upsample,
    "Resizing": _resizing,
    **ACTIVATION_LAYERS,
    **ARITHMETIC,
    "MultiHeadAttention": attention,
    "ViTPatchingAndEmbedding": _vit_embedding,  # these are KerasHub's
    "DINOV2Embedding": _dinov2_embedding,
    "DINOV2LayerScale": _dinov2_scale,
    "DINOV2DropPath": _input,
}
