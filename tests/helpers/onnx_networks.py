"""Small ONNX networks as other libraries export them, and their outputs computed by NumPy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, CHANNELS, PATCH = 16, 6, 4
KERNEL = np.random.default_rng(1).normal(0, 0.3, (CHANNELS, 3, PATCH, PATCH)).astype(np.float32)
CLASS_TOKEN = np.linspace(-1, 1, CHANNELS, dtype=np.float32).reshape(1, 1, CHANNELS)

Names = Sequence[int | str]


def node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    """Return a node of one output."""
    return helper.make_node(kind, list(inputs), [output], **attributes)


def make_model(
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[str],
    weights: dict[str, np.ndarray],
    shape: Names = ("batch", 3, SIDE, SIDE),
    kind: int = TensorProto.FLOAT,
    opset: int = 18,
) -> onnx.ModelProto:
    """Return a model with the input "image"."""
    graph = helper.make_graph(
        list(nodes),
        "exported",
        [helper.make_tensor_value_info("image", kind, list(shape))],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def make_network(last: str = "maps", shape: Names = ("batch", 3, SIDE, SIDE), **options: Any) -> onnx.ModelProto:
    """Return a network that embeds patches, like the beginning of a vision transformer.

    Args:
        last: its output: "maps" (n, 6, 4, 4), "maps_last" (n, 4, 4, 6), "tokens" (n, 17, 6; the first is a class
            token), "vector" (n, 6), or several, separated by spaces.
        shape: of the input; (n, h, w, c) is transposed first.
        options: of ``make_model``.
    """
    nodes = [node("Conv", ["image", "kernel"], "maps", strides=[PATCH, PATCH])]
    if shape[-1] == 3:
        nodes[0].input[0] = "turned"
        nodes.insert(0, node("Transpose", ["image"], "turned", perm=(0, 3, 1, 2)))
    nodes += [
        node("Transpose", ["maps"], "maps_last", perm=(0, 2, 3, 1)),
        node("Reshape", ["maps_last", "as_tokens"], "patches"),
        node("Pad", ["patches", "one_more"], "padded"),
        node("Add", ["padded", "class_token"], "tokens"),
        node("ReduceMean", ["tokens", "over"], "vector", keepdims=0),
    ]
    weights = {
        "kernel": KERNEL,
        "as_tokens": np.array([0, -1, CHANNELS]),
        "one_more": np.array([0, 1, 0, 0, 0, 0]),
        "class_token": np.pad(CLASS_TOKEN, ((0, 0), (0, 16), (0, 0))),
        "over": np.array([1]),
    }
    return make_model(nodes, last.split(), weights, shape, **options)


def run_network(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs of the network for preprocessed images (n, h, w, c), computed by NumPy."""
    count, grid = len(images), SIDE // PATCH
    patches = images.reshape(count, grid, PATCH, grid, PATCH, 3).transpose(0, 1, 3, 5, 2, 4)
    maps = np.tensordot(patches, KERNEL, ([3, 4, 5], [1, 2, 3]))
    tokens = np.concatenate([np.repeat(CLASS_TOKEN, count, 0), maps.reshape(count, -1, CHANNELS)], axis=1)
    return {"maps": maps, "tokens": tokens, "vector": tokens.mean(1)}


def save(model: onnx.ModelProto, path: Path, external: bool = False) -> Path:
    """Write a model, with its weights in PATH.data if ``external``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"save_as_external_data": True, "location": f"{path.name}.data", "size_threshold": 0}
    onnx.save(model, path, **(options if external else {}))
    return path
