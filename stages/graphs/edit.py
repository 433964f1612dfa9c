"""Read, write, cut and join ONNX graphs."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import compose, helper
from onnx.utils import Extractor

from stages.base.stage import UserError


def read(path: Path) -> onnx.ModelProto:
    """Read a graph.

    Raises:
        UserError: it is not there, or broken.
    """
    try:
        return onnx.load(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Run `dvc repro`, or `dvc pull`.") from None
    except Exception as error:  # protobuf's own error class is not public
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: expected an ONNX graph, received something else ({reason}). Delete it and run `dvc checkout`."
        ) from None


def write(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph; the same graph gives the same bytes."""
    path.write_bytes(model.SerializeToString(deterministic=True))


def cut(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """Return the part of ``model`` from its input to some of its outputs.

    ONNX Runtime fuses a convolution with the BatchNormalization behind it, but not where the convolution's own output
    is asked for as well: everything behind it would then differ in the last bits. There the convolution is computed
    twice, so that the bytes of one output do not depend on which others are asked for.
    """
    part = Extractor(model).extract_model([model.graph.input[0].name], list(outputs))
    nodes = part.graph.node
    readers = Counter(name for node in nodes for name in node.input)
    convolutions = {node.output[0]: node for node in nodes if node.op_type == "Conv"}
    for norm in [node for node in nodes if node.op_type == "BatchNormalization"]:
        shared = convolutions.get(norm.input[0])
        if shared is not None and readers[norm.input[0]] > 1:
            own = helper.make_node("Conv", shared.input, [f"{norm.name}/Conv"], f"{norm.name}/Conv")
            own.attribute.extend(shared.attribute)
            norm.input[0] = own.output[0]
            nodes.insert(list(nodes).index(norm), own)
    return part


def join(bottom: onnx.ModelProto, top: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph that runs ``bottom``, and on its one output ``top``, whose one output it has."""
    top = compose.add_prefix(top, "thawed/")  # both may name a tensor alike
    return compose.merge_models(bottom, top, [(bottom.graph.output[0].name, top.graph.input[0].name)])
