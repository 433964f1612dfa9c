"""ONNX: the format that runs nearly everywhere, browsers included. Converting needs TensorFlow; running it does not.

tf2onnx names what it makes from counters and picks among equal constants in the order of Python sets, so each run gives
other bytes. ``canonical`` brings the graph into one order with one set of names; what it computes stays the same.
"""

from pathlib import Path
from typing import Any

import onnx
import tf2onnx

from stages.base.stage import UserError
from stages.formats.card import INPUT, OUTPUT
from stages.formats.quiet import quiet

# In ONNX Runtime since 1.12 and in onnxruntime-web; the newest that tf2onnx converts in full is 18.
OPSET = 17


def write(module: Any, path: Path) -> None:
    """Write a module of ``stages.formats.serving`` as an ONNX model; its first dimension, the images, is open.

    Raises:
        UserError: the network has an operation that ONNX lacks.
    """
    with quiet():
        try:
            model = _convert(module.serve.get_concrete_function())
            canonical(model)
            onnx.checker.check_model(model)
        except Exception as error:  # tf2onnx raises whatever the operation it lacks led to
            failure = UserError(
                f"onnx: expected a network of operations that ONNX has, received one that tf2onnx cannot convert "
                f"({' '.join(str(error).split())[:300]}). Leave onnx out of export.formats."
            )
        else:
            path.write_bytes(model.SerializeToString(deterministic=True))
            return
    raise failure from None


def _convert(function: Any) -> onnx.ModelProto:
    # Not tf2onnx.convert.from_function: it takes constants that the network holds outside its weights, such as
    # Normalization's mean, for further inputs.
    inputs, outputs = [function.inputs[0].name], [function.outputs[0].name]
    graph = tf2onnx.tf_loader.from_function(function, inputs, outputs)
    rename = {inputs[0]: INPUT, outputs[0]: OUTPUT}
    model, _ = tf2onnx.convert.from_graph_def(
        graph, input_names=inputs, output_names=outputs, opset=OPSET, tensors_to_rename=rename
    )
    return model


def canonical(model: onnx.ModelProto) -> None:
    """Give equal networks equal bytes, in place: nodes ordered by a walk from the outputs, names by that order.

    Node k of type Conv becomes ``Conv_k``, its outputs ``Conv_k:0`` …, and the constant first used as its input i
    ``Conv_k.i``. Constants of the same content become one. The names of the graph's inputs and outputs stay.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    names = {value.name: value.name for value in (*graph.input, *graph.output)} | {"": ""}  # "": an input left out
    kept: dict[bytes, onnx.TensorProto] = {}
    nodes = _walk(graph)
    for index, node in enumerate(nodes):
        node.name, node.doc_string = f"{node.op_type}_{index}", ""
        for place, name in enumerate(node.input):
            if name not in names:
                tensor = constants[name]
                tensor.name = ""
                first = kept.setdefault(tensor.SerializeToString(deterministic=True), tensor)
                first.name = first.name or f"{node.name}.{place}"
                names[name] = first.name
            node.input[place] = names[name]
        for place, name in enumerate(node.output):
            node.output[place] = names.setdefault(name, f"{node.name}:{place}")
        attributes = sorted(node.attribute, key=lambda attribute: attribute.name)
        _replace(node.attribute, attributes)
    _replace(graph.node, nodes)
    _replace(graph.initializer, kept.values())
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    used = {node.domain for node in graph.node}
    _replace(model.opset_import, [opset for opset in model.opset_import if opset.domain in used])


def _walk(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the nodes that the outputs need, each after those it needs itself; the order follows the inputs' order."""
    makers = {name: node for node in graph.node for name in node.output}
    nodes: list[onnx.NodeProto] = []
    done: set[str] = set()
    waiting = [value.name for value in reversed(graph.output)]
    while waiting:
        node = makers.get(waiting[-1])
        missing = [] if node is None else [name for name in node.input if name in makers and name not in done]
        if missing and waiting[-1] not in done:
            waiting.append(missing[0])
            continue
        if node is not None and waiting[-1] not in done:
            nodes.append(node)
            done.update(node.output)
        waiting.pop()
    return nodes


def _replace(field: Any, messages: Any) -> None:
    """Set a repeated field of a protobuf message; the new messages may be the field's own."""
    copies = [type(message).FromString(message.SerializeToString(deterministic=True)) for message in messages]
    del field[:]
    field.extend(copies)
