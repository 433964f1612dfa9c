"""Arithmetic between tensors, as layers and as operations of a functional model (``x / 255``), in an ONNX graph."""

from dataclasses import replace
from typing import Any

import numpy as np

from stages.compute.graphs.writer import Convert, Tensor, Writer, to_array


def _merge(kind: str) -> Convert:
    def convert(writer: Writer, layer: Any, x: Any, y: Any = None) -> Tensor:
        return _combine(writer, kind, list(x) if y is None else [x, y])

    return convert


def _combine(writer: Writer, kind: str, inputs: list[Any]) -> Tensor:
    """Apply a binary operator to tensors, numbers and arrays, from left to right."""
    total, *others = _alike(writer, inputs)
    like: Tensor = next(x for x in (total, *others) if isinstance(x, Tensor))
    for other in others:
        total = writer.node(kind, [total, other], like)
    return replace(like, name=total.name)


def _alike(writer: Writer, inputs: list[Any]) -> list[Any]:
    """Bring tensors to a common layout, and convert numbers to arrays."""
    maps = any(isinstance(x, Tensor) and x.channels_first for x in inputs)
    values = [x if isinstance(x, Tensor) else to_array(x) for x in inputs]
    maps = maps and not any(value.ndim for value in values if isinstance(value, np.ndarray))  # else channels are last
    arrange = writer.channels_first if maps else writer.channels_last
    return [arrange(value) if isinstance(value, Tensor) else value for value in values]


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


def _average(writer: Writer, layer: Any, inputs: Any) -> Tensor:
    total = _combine(writer, "Add", list(inputs))
    return writer.node("Mul", [total, 1 / len(inputs)], total)


def _get_item(writer: Writer, layer: Any, x: Tensor, key: Any) -> Tensor:
    """Write x[..., number] or x[:, number]."""
    first, number = key if isinstance(key, tuple | list) and len(key) == 2 else (None, None)
    if not isinstance(number, int) or not (first is Ellipsis or first == slice(None)):
        raise NotImplementedError(f"x[{key}]")
    x, axis = writer.channels_last(x), x.rank - 1 if first is Ellipsis else 1
    return writer.node("Gather", [x, np.array(number)], Tensor("", x.rank - 1), axis=axis)


def _stack(writer: Writer, layer: Any, inputs: Any) -> Tensor:
    tensors, rank = [writer.channels_last(x) for x in inputs], inputs[0].rank + 1
    parts = [writer.node("Unsqueeze", [x, np.array([layer.axis % rank])], Tensor("", rank)) for x in tensors]
    return writer.node("Concat", parts, parts[0], axis=layer.axis % rank)


ARITHMETIC: dict[str, Convert] = {
    "Add": _merge("Add"),  # the layer, and the operation x + y
    "Subtract": _merge("Sub"),
    "Multiply": _merge("Mul"),
    "Divide": _merge("Div"),
    "TrueDivide": _merge("Div"),
    "Maximum": _merge("Max"),
    "Minimum": _merge("Min"),
    "Average": _average,
    "Concatenate": _concatenate,
    "Take": _take,
    "GetItem": _get_item,
    "Stack": _stack,
    "Split": _split,
    "CustomScaleLayer": _weighted_sum,  # InceptionResNetV2
    "LayerScale": _layer_scale,  # ConvNeXt
}
