"""Read, write, cut and join ONNX graphs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx import compose, helper, version_converter
from onnx.utils import Extractor

from stages.base.files import refuse_damaged


def read(path: Path) -> onnx.ModelProto:
    """Read a graph.

    Raises:
        UserError: it is missing or damaged.
    """
    with refuse_damaged(path, "an ONNX graph"):
        model = onnx.load(path)
        onnx.checker.check_model(model)
        return model


def write(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph; the same graph gives the same bytes."""
    path.write_bytes(model.SerializeToString(deterministic=True))


def cut(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """Return the part of ``model`` from its input to some of its outputs.

    ONNX Runtime fuses a convolution with the BatchNormalization and the activation after it, unless one of the first
    two is an output as well: everything after it would then differ in the last bits. So such an output gets a separate
    convolution, and the bytes of each output do not depend on the others.

    Args:
        model: a graph of one input.
        outputs: names.
    """
    part = Extractor(model).extract_model([model.graph.input[0].name], list(outputs))
    nodes = part.graph.node
    readers = Counter(name for node in nodes for name in node.input)
    producers = {node.output[0]: node for node in nodes}
    for output in [node for node in nodes if node.output[0] in set(outputs)]:
        if readers[output.input[0]] > 1:
            own = _again(output.input[0], producers, output.output[0])
            output.input[0] = own[-1].output[0] if own else output.input[0]
            for node in own:
                nodes.insert(list(nodes).index(output), node)
    return part


def _again(tensor: str, producers: Mapping[str, onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """Return nodes that compute ``tensor`` for ``output`` alone, where a convolution or its BatchNormalization does."""
    node = producers.get(tensor)
    if node is None or node.op_type not in ("Conv", "BatchNormalization"):
        return []
    before = _again(node.input[0], producers, output) if node.op_type == "BatchNormalization" else []
    again = onnx.NodeProto()
    again.CopyFrom(node)
    again.name = again.output[0] = f"{tensor} for {output}"
    if before:
        again.input[0] = before[-1].output[0]
    return [*before, again]


def join(bottom: onnx.ModelProto, top: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph that runs ``bottom``, and on its one output ``top``, whose one output it has."""
    top = compose.add_prefix(top, "thawed/")  # both may name a tensor alike
    if (opset := find_opset(bottom)) > find_opset(top):  # a network that another library exported
        top = version_converter.convert_version(top, opset)
    names = [(bottom.graph.output[0].name, top.graph.input[0].name)]
    graph = compose.merge_graphs(bottom.graph, top.graph, names, name=top.graph.name)
    graph.doc_string = ""  # says which graphs were merged
    others = [one for one in bottom.opset_import if one.domain not in ("", "ai.onnx")]
    return helper.make_model(
        graph,
        ir_version=max(bottom.ir_version, top.ir_version),
        opset_imports=[*top.opset_import, *others],
        producer_name=top.producer_name,
    )


def attach(model: onnx.ModelProto, branch: onnx.ModelProto) -> list[str]:
    """Add to a graph what another computes from the same input; return the names of its outputs, which come last.

    Args:
        model: changed.
        branch: of the same opset.
    """
    branch = compose.add_prefix(branch, "frozen/")
    for node in branch.graph.node:
        node.input[:] = [model.graph.input[0].name if x == branch.graph.input[0].name else x for x in node.input]
    for field in ("node", "initializer", "output"):
        getattr(model.graph, field).extend(getattr(branch.graph, field))
    return [output.name for output in branch.graph.output]


def find_opset(model: onnx.ModelProto) -> int:
    """Return the opset version of a model's standard ONNX operators."""
    return next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 1)
