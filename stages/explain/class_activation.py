"""Class activation maps of an ONNX graph: which places of the last feature maps a logit comes from.

Where a network ends in pooled feature maps and a linear head, a logit is a bias and a mean over the places of the maps:
no approximation is needed (Zhou et al., CVPR 2016, for average pooling). With max pooling, a feature comes from the
place of its maximum.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

_PASSING = ("Identity", "Dropout", "Cast")  # nodes that change no value
_RESHAPING = ("Flatten", "Reshape", "Squeeze")
_POOLS = {"GlobalAveragePool": "average", "GlobalMaxPool": "max", "ReduceMean": "average", "ReduceMax": "max"}
_LAST, _FIRST = (1, 2), (2, 3)  # axes of height and width, where channels are last or first


@dataclass(frozen=True)
class LinearClassifier:
    """The end of a network: pooled feature maps, times a matrix, plus a bias.

    Attributes:
        tensor: name of the feature maps in the graph.
        channels_last: whether their layout is (n, h, w, c), and not (n, c, h, w).
        pooling: ``average``, ``max``, or ``none`` if they are flattened.
        kernel: (features, classes); a number if each feature times it is a logit.
        bias: (classes,), or a number.
    """

    tensor: str
    channels_last: bool
    pooling: str
    kernel: np.ndarray
    bias: np.ndarray

    def locate(self, maps: np.ndarray) -> np.ndarray:
        """Return what each place adds to the logits: their mean over the places, plus the bias, is the logit.

        Args:
            maps: feature maps in the layout of the graph, four dimensions.

        Returns:
            float64 (n, h, w, classes).
        """
        last = (maps if self.channels_last else maps.transpose(0, 2, 3, 1)).astype(np.float64)
        height, width, channels = last.shape[1:]
        kernel = self.kernel if self.kernel.ndim else self.kernel * np.eye(self._features(last))
        if self.pooling == "average":
            return np.asarray(last @ kernel)
        if self.pooling == "max":
            highest = last == last.max(axis=(1, 2), keepdims=True)
            return np.asarray((last * highest / highest.mean(axis=(1, 2), keepdims=True)) @ kernel)
        order = (height, width, channels) if self.channels_last else (channels, height, width)
        kernel = kernel.reshape(*order, -1)
        kernel = kernel if self.channels_last else kernel.transpose(1, 2, 0, 3)
        return np.asarray(height * width * np.einsum("nhwc,hwck->nhwk", last, kernel))

    def _features(self, maps: np.ndarray) -> int:
        return int(np.prod(maps.shape[1:])) if self.pooling == "none" else maps.shape[3]


def find_classifier(model: onnx.ModelProto) -> LinearClassifier | None:
    """Return the linear classifier on pooled feature maps that a graph ends in; None if it ends otherwise.

    Args:
        model: with one output: logits, or their softmax.
    """
    graph = _Nodes(model.graph)
    logits = graph.skip(model.graph.output[0].name)
    if graph.kind(logits) == "Softmax":
        logits = graph.node(logits).input[0]
    source, kernel, bias = graph.read_linear(logits)
    node = graph.producers.get(source)
    if node is None:
        return None
    tensor, pooling, axes = node.input[0], _POOLS.get(node.op_type), graph.pooled_axes(node)
    if node.op_type in _RESHAPING:
        before = graph.producers.get(tensor)
        turned = before is not None and before.op_type == "Transpose" and _attribute(before, "perm") == [0, 2, 3, 1]
        pooling, axes = "none", _LAST if turned else _FIRST
    if pooling is None or axes not in (_LAST, _FIRST):
        return None
    return LinearClassifier(tensor, axes == _LAST, pooling, kernel, bias)


class _Nodes:
    """The nodes of a graph by what they compute."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.producers: dict[str, onnx.NodeProto] = {name: node for node in graph.node for name in node.output}
        self.weights: Mapping[str, onnx.TensorProto] = {one.name: one for one in graph.initializer}

    def node(self, tensor: str) -> onnx.NodeProto:
        return self.producers[tensor]

    def kind(self, tensor: str) -> str:
        return str(self.producers[tensor].op_type) if tensor in self.producers else ""

    def skip(self, tensor: str) -> str:
        """Return the tensor before the nodes that change no value."""
        while self.kind(tensor) in _PASSING:
            tensor = self.producers[tensor].input[0]
        return tensor

    def constant(self, tensor: str) -> np.ndarray | None:
        """Return the value of a weight or constant; None if the tensor depends on the input."""
        if tensor in self.weights:
            return np.asarray(numpy_helper.to_array(self.weights[tensor]))
        if self.kind(tensor) == "Constant":
            return np.asarray(numpy_helper.to_array(_attribute(self.producers[tensor], "value")))
        return None

    def read_linear(self, tensor: str) -> tuple[str, np.ndarray, np.ndarray]:
        """Return the first tensor that the linear nodes before ``tensor`` start from, their matrix and their bias."""
        tensor = self.skip(tensor)
        node, kind = self.producers.get(tensor), self.kind(tensor)
        if node is not None and kind == "Concat":
            parts = [self.read_linear(name) for name in node.input]
            if len({source for source, _, _ in parts}) == 1 and all(kernel.ndim for _, kernel, _ in parts):
                biases = [np.broadcast_to(bias, kernel.shape[1]) for _, kernel, bias in parts]
                return parts[0][0], np.concatenate([kernel for _, kernel, _ in parts], axis=1), np.concatenate(biases)
        elif node is not None and kind in _RESHAPING and self.kind(self.skip(node.input[0])) in _POOLS:
            return self.read_linear(node.input[0])
        elif node is not None and kind in ("MatMul", "Gemm", "Add", "Sub", "Mul", "Div"):
            values = [self.constant(name) for name in node.input]
            variable = [name for name, value in zip(node.input, values, strict=True) if value is None]
            swapped = values[0] is not None and kind not in ("Add", "Mul")
            if len(variable) == 1 and not swapped:
                source, kernel, bias = self.read_linear(variable[0])
                known = [np.asarray(value, np.float64) for value in values if value is not None]
                return source, *_apply(node, kernel, bias, known)
        return tensor, np.array(1.0), np.array(0.0)

    def pooled_axes(self, node: onnx.NodeProto) -> tuple[int, ...]:
        """Return the axes over which a pooling node pools feature maps, counted from the start."""
        if node.op_type not in ("ReduceMean", "ReduceMax"):
            return _FIRST
        axes = _attribute(node, "axes")
        if axes is None and len(node.input) > 1:
            axes = self.constant(node.input[1])
        return tuple(sorted(int(axis) % 4 for axis in (axes if axes is not None else ())))


def _apply(
    node: onnx.NodeProto, kernel: np.ndarray, bias: np.ndarray, known: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return matrix and bias after one more linear node, with its constant inputs ``known``."""
    if node.op_type in ("MatMul", "Gemm"):
        matrix = known[0].T if _attribute(node, "transB") else known[0]
        matrix = matrix * (_attribute(node, "alpha") or 1.0)
        added = known[1] * (_attribute(node, "beta") or 1.0) if len(known) > 1 else 0.0
        bias = bias @ matrix if bias.ndim else bias * matrix.sum(axis=0)
        return (kernel @ matrix if kernel.ndim else kernel * matrix), np.asarray(bias + added)
    value = known[0].reshape(-1) if known[0].size > 1 else known[0].reshape(())
    if node.op_type in ("Add", "Sub"):
        return kernel, np.asarray(bias + value if node.op_type == "Add" else bias - value)
    value = value if node.op_type == "Mul" else 1 / value
    widened = kernel if kernel.ndim or not value.ndim else kernel * np.eye(len(value))
    return np.asarray(widened * value), np.asarray(bias * value)


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    return next((onnx.helper.get_attribute_value(one) for one in node.attribute if one.name == name), None)
