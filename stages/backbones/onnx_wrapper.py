"""Wrap an ONNX network that another library exported: add preprocessing before it and pooling after it.

The result is a graph like those that ``stages.compute.graphs.convert`` writes: from uint8 pixels (n, side, side,
channels) to float32 features, once for each pooling. The network itself is unchanged, except that its batch size
becomes variable.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import compose, helper, inliner, numpy_helper, version_converter
from onnx.utils import Extractor

from stages.backbones.onnx_layout import (
    FLOATS,
    are_channels_first,
    check_side,
    choose_output,
    find_input,
    find_layout,
    list_outputs,
)
from stages.backbones.onnx_trial import AGAIN, FIXED, ROWS, run, try_out
from stages.backbones.pixel_scaling import Scaling
from stages.base.errors import UserError, suggest, summarize
from stages.compute.architecture import PIXELS, Architecture, Layer, name_features
from stages.compute.graphs.edit import find_opset
from stages.compute.graphs.shapes import find_largest
from stages.compute.graphs.writer import IR_VERSION, OPSET

Step = tuple[str, Sequence[str], Mapping[str, Any]]  # an operator, weights and attributes

_FLOAT, _INT8, _UINT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8
_PREFIX = "network/"  # added to all names in the network, so that none collides with Thaw's


@dataclass(frozen=True)
class WrappedNetwork:
    """A network from pixels to features.

    Attributes:
        graph: from "pixels" to the features, once for each pooling.
        architecture: an input and a single layer, which cannot be thawed.
        output: name and shape of the tensor that is pooled, in words.
    """

    graph: onnx.ModelProto
    architecture: Architecture
    output: str


def wrap_network(model: onnx.ModelProto, side: int, scaling: Scaling, output: str | None) -> WrappedNetwork:
    """Return a network as a graph from pixels to features, after testing it on a few images.

    Args:
        model: the network.
        side: of the images, in pixels.
        scaling: of the pixels.
        output: name of an output, or of any tensor in the network; None for its only output.

    Raises:
        UserError: it does not run; its batch size is fixed; its output for an image depends on the rest of the batch;
            or its shapes or ``output`` are ambiguous.
    """
    declared = find_input(model.graph)
    channels_first, count = find_layout(declared)
    check_side(declared, channels_first, side)
    channels = count or 3
    if len(scaling.scale) not in (1, channels):
        expected = f"{channels} channel{'s' * (channels > 1)}"
        raise UserError(f"pretrain.pixels: expected mean and std for {expected}; received {len(scaling.scale)}.")
    fixed = declared.type.tensor_type.shape.dim[0].dim_value  # 0: any number of images
    network = _prepare(model)
    names = [_find_tensor(network.graph, output)] if output else list_outputs(network.graph)
    if not names:
        choose_output({}, ROWS)  # refuses
    image = next(one for one in network.graph.input if one.name == _PREFIX + declared.name)
    _put_before(network.graph, image, scaling, (side, side, channels), channels_first)
    rows = np.random.default_rng(0).integers(0, 256, (ROWS, side, side, channels), np.uint8)
    for name in names:
        network.graph.node.append(_node("Cast", [name], f"value/{name}", to=_FLOAT))
    values = run(_extract(network, dict.fromkeys(f"value/{name}" for name in names)), rows, fixed)
    if fixed and any(value.shape[:1] != (ROWS,) for value in values.values()):
        raise UserError(FIXED.format(fixed))
    shapes = {name.removeprefix(_PREFIX): values[f"value/{name}"].shape for name in names}
    chosen = choose_output(shapes, ROWS)
    tensor, shape, pooled = _put_after(network.graph, chosen, shapes[chosen])
    graph = _extract(network, pooled)
    try:
        onnx.checker.check_model(graph)  # as the stages that read it do
    except onnx.checker.ValidationError as error:
        raise UserError(f"expected a valid network; {summarize(error)}. {AGAIN}") from None
    try_out(graph, rows, fixed)
    weights = [one for one in graph.graph.initializer if one.name.startswith(_PREFIX)]
    parameters = sum(math.prod(one.dims) for one in weights if one.data_type in (*FLOATS, _INT8, _UINT8))
    layers = (
        Layer("image", "InputLayer", rows.shape[1:], 0, ()),
        Layer("network", "ONNX", shape, parameters, ("image",)),
    )
    architecture = Architecture(layers, "network", {}, trainable=False, largest=find_largest(graph))
    return WrappedNetwork(graph, architecture, f"{chosen}, {tensor}")


def _prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with prefixed names, with functions inlined, in Thaw's opset or a newer one."""
    found = inliner.inline_local_functions(model) if model.functions else model
    if any(attribute.HasField("g") or attribute.graphs for node in found.graph.node for attribute in node.attribute):
        raise UserError("expected a network without branches and loops (If, Loop, Scan). Export it by tracing.")
    if dynamic := {node.op_type for node in found.graph.node if node.op_type.startswith("DynamicQuantize")}:
        raise UserError(
            f"it is quantized dynamically ({', '.join(sorted(dynamic))}), so the output for an image depends on the "
            f"rest of the batch. Export it without quantization, or quantize it statically."
        )
    if (opset := find_opset(found)) < OPSET:
        try:
            found = version_converter.convert_version(found, OPSET)
        except Exception as error:  # the converter is C++ and raises errors of many kinds
            raise UserError(
                f"its ONNX opset {opset} cannot be converted to {OPSET} ({summarize(error)}). "
                f"Export it with opset_version={OPSET}."
            ) from None
    network = compose.add_prefix(found, _PREFIX, inplace=found is not model)
    network.ir_version = max(network.ir_version, IR_VERSION)
    network.graph.ClearField("value_info")  # shapes for a fixed batch size
    network.graph.ClearField("quantization_annotation")  # metadata that nothing reads
    return network


def _find_tensor(graph: onnx.GraphProto, name: str) -> str:
    """Return the name in ``graph`` of a tensor of the network."""
    made = [tensor.removeprefix(_PREFIX) for node in graph.node for tensor in node.output if tensor]
    if name in made:
        return _PREFIX + name
    outputs = [one.name.removeprefix(_PREFIX) for one in graph.output]
    raise UserError(
        f"pretrain.output: expected an output of the network ({', '.join(outputs)}) or a tensor in it; "
        f"received {name}.{suggest(name, made)}"
    )


def _put_before(
    graph: onnx.GraphProto, image: onnx.ValueInfoProto, scaling: Scaling, shape: Sequence[int], channels_first: bool
) -> None:
    """Add nodes before the network that turn pixels into its input."""
    kind = image.type.tensor_type.elem_type
    if kind == _UINT8 and (scaling.scale, scaling.offset) != ((1.0,), (0.0,)):
        raise UserError("pretrain.pixels: the network expects uint8. Set it to 0-255.")
    for name, numbers in (("scale", scaling.scale), ("offset", scaling.offset)):
        graph.initializer.append(numpy_helper.from_array(np.asarray(numbers, np.float32), name))
    order = (0, 3, 1, 2) if channels_first else (0, 1, 2, 3)
    nodes = [
        _node("Cast", [PIXELS], "float", to=_FLOAT),
        _node("Mul", ["float", "scale"], "scaled"),
        _node("Add", ["scaled", "offset"], "preprocessed"),
        _node("Transpose", ["preprocessed"], "arranged", perm=order),
        _node("Cast", ["arranged"], image.name, to=kind),
    ]
    for node in reversed(nodes):
        graph.node.insert(0, node)
    graph.input.remove(image)
    graph.input.insert(0, helper.make_tensor_value_info(PIXELS, _UINT8, ["n", *shape]))


def _put_after(
    graph: onnx.GraphProto, name: str, shape: Sequence[int]
) -> tuple[str, tuple[int, ...], dict[str, list[int | str]]]:
    """Pool the output ``name`` in each way; return its description, its channels-last shape, and the new shapes."""
    kept: list[Step] = [("Identity", [], {})]
    flat: list[Step] = [("Flatten", [], {})]
    layout = tuple(shape[1:])
    if len(shape) == 2:
        said = f"{shape[1]:,} numbers"
        steps = {"average": kept, "max": kept, "none": kept}
    elif len(shape) == 3:
        said = f"{shape[1]} tokens of {shape[2]:,} numbers"
        graph.initializer.append(numpy_helper.from_array(np.array(0), "place"))
        steps = {**_pool((0, 2, 1)), "none": flat, "first": [("Gather", ["place"], {"axis": 1})]}
    else:
        first = are_channels_first(name, shape)
        layout = (*layout[1:], layout[0]) if first else layout
        said = f"feature maps of {layout[0]} x {layout[1]} x {layout[2]:,}"
        last: list[Step] = [("Transpose", [], {"perm": (0, 2, 3, 1)})] if first else []
        steps = {**_pool(None if first else (0, 3, 1, 2)), "none": [*last, *flat]}
    for how, nodes in steps.items():
        tensor = f"value/{_PREFIX}{name}"
        for place, (kind, weights, attributes) in enumerate(nodes, start=1):
            after = name_features(how) + (f"/{kind}" if place < len(nodes) else "")
            graph.node.append(_node(kind, [tensor, *weights], after, **attributes))
            tensor = after
    sizes = {how: math.prod(layout) if how == "none" else layout[-1] for how in steps}
    return said, layout, {name_features(how): ["n", size] for how, size in sizes.items()}


def _pool(to_channels_first: Sequence[int] | None) -> dict[str, list[Step]]:
    """Return the nodes that pool feature maps or tokens, after moving the channels to the front."""
    before: list[Step] = [("Transpose", [], {"perm": to_channels_first})] if to_channels_first else []
    kinds = {"average": "GlobalAveragePool", "max": "GlobalMaxPool"}
    return {how: [*before, (kind, [], {}), ("Flatten", [], {})] for how, kind in kinds.items()}


def _node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], output, **attributes)


def _extract(network: onnx.ModelProto, outputs: Mapping[str, Sequence[int | str] | None]) -> onnx.ModelProto:
    """Return the part of ``network`` from the pixels to ``outputs``, float32: their shapes by name."""
    whole = onnx.ModelProto()
    whole.CopyFrom(network)
    whole.graph.ClearField("output")
    whole.graph.output.extend(helper.make_tensor_value_info(name, _FLOAT, shape) for name, shape in outputs.items())
    part = Extractor(whole).extract_model([PIXELS], list(outputs))
    part.graph.name = "thaw"
    return part
