"""Read the shapes of tensors in an ONNX graph."""

import math

import onnx

Dimensions = list[int | str]


def dimensions(tensor: onnx.ValueInfoProto) -> Dimensions:
    """Return the declared shape of a tensor: for each dimension its size, its name, or "?"."""
    declared = tensor.type.tensor_type.shape.dim
    return [one.dim_value if one.dim_value > 0 else one.dim_param or "?" for one in declared]


def find_largest(graph: onnx.ModelProto) -> int:
    """Return the size of the largest tensor for one image, as far as shapes can be inferred.

    Args:
        graph: its first dimensions are the batch size, "n".
    """
    inferred = onnx.shape_inference.infer_shapes(graph)
    shapes = [dimensions(one)[1:] for one in inferred.graph.value_info if dimensions(one)[:1] == ["n"]]
    return max((math.prod(map(int, shape)) for shape in shapes if all(isinstance(d, int) for d in shape)), default=0)
