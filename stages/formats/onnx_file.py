"""ONNX: the format that runs nearly everywhere, browsers included. Converting needs TensorFlow; running it does not.

tf2onnx by itself gives other bytes at every run: it goes through Python sets, whose order changes from process to
process, while it moves transpositions about, merges equal constants and numbers what it makes. ``ordered_sets`` ends
that.
"""

from pathlib import Path
from typing import Any

import onnx
from tf2onnx import convert, tf_loader

from stages.base.quiet import quiet
from stages.base.stage import UserError
from stages.formats.card import INPUT, OUTPUT
from stages.formats.ordered import ordered_sets

# In ONNX Runtime since 1.12 and in onnxruntime-web; the newest that tf2onnx converts to is 18.
OPSET = 17


def write(module: Any, path: Path) -> None:
    """Write a module of ``stages.formats.serving`` as an ONNX model; its first dimension, the images, is open.

    Raises:
        UserError: the network has an operation that ONNX lacks.
    """
    with quiet(), ordered_sets("tf2onnx"):
        try:
            model = _convert(module.serve.get_concrete_function())
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
    # Not convert.from_function: it takes constants that the network holds outside its weights, such as the mean in
    # Normalization, for further inputs.
    inputs, outputs = [function.inputs[0].name], [function.outputs[0].name]
    graph = tf_loader.from_function(function, inputs, outputs)
    rename = {inputs[0]: INPUT, outputs[0]: OUTPUT}
    model: onnx.ModelProto
    model, _ = convert.from_graph_def(
        graph, name="thaw", input_names=inputs, output_names=outputs, opset=OPSET, tensors_to_rename=rename
    )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    unused = [opset for opset in model.opset_import if opset.domain not in {node.domain for node in model.graph.node}]
    for opset in unused:  # a runtime need not know what no node asks for
        model.opset_import.remove(opset)
    return model
