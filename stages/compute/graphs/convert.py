"""Convert a Keras network in inference mode to an ONNX graph.

Keras's own exporter goes through TensorFlow and tf2onnx: it takes up to a minute, writes other bytes at every run and
another graph under JAX, and folds constants with the rounding of the processor. Image networks have few types of
layers, so they are converted one by one (``stages.compute.graphs.layers``): in milliseconds, always to the same bytes.
"""

from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import helper

from stages.base.errors import UserError
from stages.compute.graphs.layers import LAYERS
from stages.compute.graphs.session import Graph
from stages.compute.graphs.writer import Tensor, Writer
from stages.compute.hub import is_of_hub, unfold
from stages.compute.networks import Model
from stages.compute.runtime import backend_name, disable_tf32, keras

# The graph and the framework round differently: by up to 1e-5 of the largest value, 1e-4 in deep networks.
TOLERANCE = 1e-3


def convert(network: Model) -> onnx.ModelProto:
    """Return ``network`` as an ONNX model whose first dimension, the number of images, is open.

    Args:
        network: a functional model of one input, uint8 or float32, and one output or a dictionary of outputs. Models
            may be nested in it.

    Returns:
        A model with the input's name, and the outputs' names: the keys of the dictionary, or ``logits``.

    Raises:
        UserError: it has a layer that is not supported.
    """
    writer, pixels = Writer(), network.input
    integer = str(pixels.dtype) == "uint8"
    kind = onnx.TensorProto.UINT8 if integer else onnx.TensorProto.FLOAT
    x = Tensor(pixels.name, len(pixels.shape))
    if integer:
        writer.enter("float")
        x = writer.node("Cast", [x], x, to=onnx.TensorProto.FLOAT)
    found = _through(writer, network, x)
    outputs = network.output if isinstance(network.output, dict) else {"logits": network.output}
    tensors = found if isinstance(found, dict) else {"logits": found}
    info = helper.make_tensor_value_info(pixels.name, kind, ["n", *pixels.shape[1:]])
    model = writer.model([info], {name: (tensors[name], tensor.shape[1:]) for name, tensor in outputs.items()})
    onnx.checker.check_model(model)
    return model


def check_graph(graph: onnx.ModelProto, stem: str, rows: np.ndarray, network: Model) -> None:
    """Check that a graph and the network that it was converted from give the same outputs.

    Args:
        graph: from ``convert``.
        stem: name, without suffix, of the file that holds the graph.
        rows: inputs to compare on, (n, ...).
        network: that was converted.

    Raises:
        UserError: they differ by more than rounding, or the network's outputs are not finite.
    """
    found = Graph(graph, len(rows))(rows)
    with disable_tf32():
        outputs = network(rows, training=False)
    for name, tensor in (outputs if isinstance(outputs, dict) else {"logits": outputs}).items():
        values = keras.ops.convert_to_numpy(tensor)
        if not np.isfinite(values).all():
            raise UserError(
                f"{stem}: expected numbers, received NaN or infinity ({name}): its training diverged, or its "
                f"weights are damaged. Lower the learning rate, or replace the weights."
            )
        difference, largest = np.abs(found[name] - values).max(), np.abs(values).max()
        if not difference <= TOLERANCE * largest:
            raise UserError(
                f"{stem}.onnx: expected what the network in {backend_name()} outputs ({name}, up to "
                f"{largest:.3g}), received a difference of {difference:.2g}. This is a mistake of the conversion: "
                f"please report it with pretrain.backbone and pretrain.source."
            )


def _through(writer: Writer, network: Model, x: Tensor) -> Any:
    """Write the layers of ``network`` for the input ``x``; return its output in its structure."""
    if isinstance(network, keras.Sequential):
        for layer in network.layers:
            x = _write(writer, layer, x)
        return x
    return network._run_through_graph(x, operation_fn=lambda operation: partial(_write, writer, operation))


def _write(writer: Writer, layer: Any, *inputs: Any, **options: Any) -> Any:
    if isinstance(layer, keras.Model):
        return _through(writer, layer, *inputs)
    kind, library = type(layer).__name__, type(layer).__module__.split(".")[0]
    options = {name: value for name, value in options.items() if name not in ("training", "mask")}
    if is_of_hub(layer) and kind not in LAYERS and len(inputs) == 1:
        return _through(writer, unfold(layer), *inputs)
    if kind not in LAYERS or library not in ("keras", "keras_hub") or _channels_first(layer):
        raise UserError(f"the layer {layer.name} ({kind}) of the network {_WITHOUT}")
    # Keras numbers operations per process, so their names vary.
    writer.enter(layer.name if isinstance(layer, keras.layers.Layer) else kind)
    try:
        return LAYERS[kind](writer, layer, *inputs, **options)
    except NotImplementedError as error:
        raise UserError(f"the layer {layer.name} of the network ({error}) {_WITHOUT}") from None


_WITHOUT = "cannot be written as an ONNX graph."


def _channels_first(layer: Any) -> bool:
    return getattr(layer, "data_format", None) == "channels_first"
