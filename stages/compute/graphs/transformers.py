"""The layers of vision transformers as nodes of an ONNX graph: attention, and how KerasHub's begin."""

from typing import Any

import numpy as np

from stages.compute.graphs.writer import Tensor, Writer, to_array


def attention(
    writer: Writer, layer: Any, query: Tensor, value: Tensor, key: Tensor | None = None, **options: Any
) -> Tensor:
    """Write MultiHeadAttention of tokens (n, t, c) to themselves."""
    unusual = any(options.values()) or any(getattr(layer, name, None) for name in ("sliding_window", "_use_gate"))
    if value != query or key not in (None, query) or unusual:
        raise NotImplementedError("attention to other tokens")
    heads, size = layer.num_heads, layer.key_dim
    kinds = ((layer.query_dense, (0, 2, 1, 3)), (layer.key_dense, (0, 2, 3, 1)), (layer.value_dense, (0, 2, 1, 3)))
    parts = []
    for dense, order in kinds:
        x = _project(writer, dense, query, len(to_array(dense.kernel)))
        x = writer.node("Reshape", [x, np.array([0, 0, heads, -1])], Tensor("", 4))
        parts.append(writer.node("Transpose", [x], x, perm=order))
    scaled = writer.node("Mul", [parts[0], size**-0.5], parts[0])
    share = writer.node("Softmax", [writer.node("MatMul", [scaled, parts[1]], scaled)], scaled, axis=-1)
    x = writer.node("Transpose", [writer.node("MatMul", [share, parts[2]], share)], share, perm=(0, 2, 1, 3))
    x = writer.node("Reshape", [x, np.array([0, 0, -1])], Tensor("", 3))
    kernel = to_array(layer.output_dense.kernel)
    return _project(writer, layer.output_dense, x, kernel.shape[0] * kernel.shape[1])


def _project(writer: Writer, dense: Any, x: Tensor, inputs: int) -> Tensor:
    """Write an EinsumDense of heads as one product of matrices."""
    x = writer.node("MatMul", [x, to_array(dense.kernel).reshape(inputs, -1)], x)
    return x if dense.bias is None else writer.node("Add", [x, to_array(dense.bias).reshape(-1)], x)


def add_tokens(writer: Writer, patches: Tensor, first: np.ndarray, added: np.ndarray) -> Tensor:
    """Write ``first`` before the tokens of the patches, and ``added`` to those.

    Args:
        writer: of the graph.
        patches: feature maps, (n, h, w, c).
        first: other tokens, (t, c).
        added: embeddings of positions, (h * w, c).
    """
    x = writer.node("Reshape", [writer.channels_last(patches), np.array([0, -1, added.shape[1]])], Tensor("", 3))
    x = writer.node("Pad", [x, np.array([0, len(first), 0, 0, 0, 0])], x)  # zeros, to which they are added
    return writer.node("Add", [x, np.concatenate([first, added])], x)


def vit_tokens(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return ``first`` and ``added`` of KerasHub's ViTPatchingAndEmbedding."""
    positions = to_array(layer.position_embedding.embeddings)
    count = int(layer.use_class_token)
    return positions[:count] + (to_array(layer.class_token)[0] if count else 0), positions[count:]


def dinov2_tokens(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return ``first`` and ``added`` of KerasHub's DINOV2Embedding: register tokens have no position."""
    positions = to_array(layer.interpolated_position_embeddings)[0]
    first = [to_array(layer.cls_token)[0] + positions[:1]]
    if layer.num_register_tokens:
        first.append(to_array(layer.register_tokens)[0])
    return np.concatenate(first), positions[1:]
