"""Collect the nodes of an ONNX graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

# In ONNX Runtime since 1.12, and in onnxruntime-web.
OPSET = 17
IR_VERSION = 8

_NOTHING = np.zeros(0, np.float32)  # an omitted optional input
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph.

    Attributes:
        name: unique.
        rank: number of dimensions, images included.
        channels_first: whether the layout of feature maps is ONNX's, (n, c, h, w), and not Keras's, (n, h, w, c).
        pads: padding that is still to be applied: rows or columns of zeros at the top, left, bottom and right. A
            convolution applies it itself, which is faster; other layers need a node.
    """

    name: str
    rank: int
    channels_first: bool = False
    pads: tuple[int, ...] = ()


Convert = Callable[..., Any]  # from the writer, a layer and its inputs to its output


def to_array(value: Any) -> np.ndarray:
    """Return a number or a Keras weight as a float32 array."""
    from stages.compute.runtime import keras  # here: wrapping another library's graph needs no framework

    return np.asarray(keras.ops.convert_to_numpy(value), np.float32)


class Writer:
    """The nodes and weights of a graph."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, np.ndarray] = {}
        self._names: dict[str, int] = {}
        self._made: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self.scope = ""

    def enter(self, name: str) -> None:
        """Name what follows after the layer ``name``; a second layer of that name gets a number."""
        count = self._names[name] = self._names.get(name, 0) + 1
        self.scope = name if count == 1 else f"{name}_{count}"

    def node(self, kind: str, inputs: Sequence[Tensor | np.ndarray | float], like: Tensor, **attributes: Any) -> Tensor:
        """Add a node; arrays and numbers (float32) become weights. The output has the rank and layout of ``like``."""
        part = f"{self.scope}/{kind}"
        count = self._names[part] = self._names.get(part, 0) + 1
        name = part if count == 1 else f"{part}_{count}"
        names = [
            self.padded(x).name if isinstance(x, Tensor) else self._weight(f"{name}/{place}", x)
            for place, x in enumerate(inputs)
        ]
        self._nodes.append(helper.make_node(kind, names, [name], name, **attributes))
        return replace(like, name=name, pads=())

    def resize(self, x: Tensor, target: dict[str, np.ndarray], **attributes: Any) -> Tensor:
        """Add a node that resizes feature maps (n, c, h, w).

        Args:
            x: the feature maps.
            target: ``scales`` of the four dimensions, or ``sizes`` of c, h and w.
            **attributes: of the node.
        """
        if "scales" in target:
            return self.node("Resize", [x, _NOTHING, target["scales"]], x, **attributes)
        count = self.node("Slice", [self.node("Shape", [x], x), np.array([0]), np.array([1])], x)
        sizes = self.node("Concat", [count, target["sizes"]], x, axis=0)
        return self.node("Resize", [x, _NOTHING, _NOTHING, sizes], x, **attributes)

    def _weight(self, name: str, value: np.ndarray | float) -> str:
        self._weights[name] = np.asarray(value, np.float32 if isinstance(value, float) else None, order="C")
        return name

    def channels_first(self, x: Tensor) -> Tensor:
        """Return feature maps as (n, c, h, w)."""
        return x if x.channels_first else self._transpose(x, _TO_CHANNELS_FIRST)

    def channels_last(self, x: Tensor) -> Tensor:
        """Return a tensor as Keras has it."""
        return self._transpose(x, _TO_CHANNELS_LAST) if x.channels_first else x

    def _transpose(self, x: Tensor, order: tuple[int, ...]) -> Tensor:
        x = self.padded(x)
        if (x.name, order) not in self._made:
            like = replace(x, channels_first=not x.channels_first)
            self._made[x.name, order] = self.node("Transpose", [x], like, perm=order)
        return self._made[x.name, order]

    def padded(self, x: Tensor) -> Tensor:
        """Return feature maps with the zeros around them that they are to have."""
        if not x.pads:
            return x
        if (x.name, x.pads) not in self._made:
            top, left, bottom, right = x.pads
            pads = np.array([0, 0, top, left, 0, 0, bottom, right])
            self._made[x.name, x.pads] = self.node("Pad", [replace(x, pads=()), pads], x)
        return self._made[x.name, x.pads]

    def model(self, inputs: Sequence[onnx.ValueInfoProto], outputs: dict[str, tuple[Tensor, Any]]) -> onnx.ModelProto:
        """Return the model.

        Args:
            inputs: of the graph.
            outputs: by name: the tensor, and its shape as Keras has it, without the number of images.
        """
        padded = {name: (self.padded(tensor), shape) for name, (tensor, shape) in outputs.items()}
        nodes, infos = list(self._nodes), []
        for name, (tensor, shape) in padded.items():
            named = helper.make_node("Identity", [tensor.name], [name], f"output {name}")
            if tensor.channels_first:
                named = helper.make_node("Transpose", [tensor.name], [name], f"output {name}", perm=_TO_CHANNELS_LAST)
            nodes.append(named)
            infos.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *shape]))
        weights = [numpy_helper.from_array(array, name) for name, array in self._weights.items()]
        graph = helper.make_graph(nodes, "thaw", list(inputs), infos, weights)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="thaw")
