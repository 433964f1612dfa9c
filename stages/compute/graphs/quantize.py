"""Make an ONNX model smaller: weights in half precision, or weights and activations in 8 bits."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from stages.base.errors import UserError, summarize
from stages.compute.native_logs import silence_native_logs

_LARGEST = np.finfo(np.float16).max
_BATCH = 8  # images at a time while it calibrates
# Probabilities need more than 256 levels, and so does attention; normalization computes with its float32 weights.
_IN_FLOAT = {"Softmax", "LayerNormalization", "InstanceNormalization", "BatchNormalization"}


def halve_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model that stores its weights as float16 and computes in float32.

    ONNX Runtime converts them when it opens the file, so it is as fast as before. Computing in float16 would be slower
    on a processor, for which it has no such kernels. Biases and normalization are a few numbers, and stay.

    Args:
        model: in float32.
    """
    found = onnx.ModelProto()
    found.CopyFrom(model)
    casts = []
    for weight in found.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        array = numpy_helper.to_array(weight)
        if np.abs(array).max(initial=0) <= _LARGEST:
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(array.astype(np.float16), f"{name}/float16"))
            casts.append(helper.make_node("Cast", [weight.name], [name], f"{name}/Cast", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *found.graph.node]
    del found.graph.node[:]
    found.graph.node.extend(nodes)
    return found


def quantize(model: onnx.ModelProto, rows: np.ndarray) -> onnx.ModelProto:
    """Return a model that computes with 8-bit integers, quantized after training (Jacob et al. 2018).

    Weights have a scale for each channel; activations have one for each tensor, from the least to the greatest value
    that ``rows`` give. Unsigned activations and signed weights are what ONNX Runtime computes fastest on x86.

    Args:
        model: in float32.
        rows: inputs to calibrate with, (n, ...).

    Raises:
        UserError: ONNX Runtime cannot quantize it.
    """
    from onnxruntime.quantization import QuantType, quantize_static  # here: only int8 needs it, and it takes time
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    with TemporaryDirectory() as temporary, silence_native_logs():
        file = Path(temporary, "quantized.onnx")
        try:
            prepared = _fuse(model, Path(temporary, "fused.onnx"))
            quantize_static(
                prepared,
                file,
                _Reader(model.graph.input[0].name, rows),
                op_types_to_quantize=sorted((QDQRegistry.keys() | QLinearOpsRegistry.keys()) - _IN_FLOAT),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            found = onnx.load(file)
        except Exception as error:  # its errors are of many classes
            failure = UserError(
                f"onnx: expected a network that ONNX Runtime can quantize, received one for which it says: "
                f"{summarize(error)}. Leave int8 out of export.quantize."
            )
        else:
            return _tidy(found, model)
    raise failure from None


def _fuse(model: onnx.ModelProto, file: Path) -> onnx.ModelProto:
    """Return the model with each BatchNormalization in the convolution before it, as the quantizer expects it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(file)
    onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    fused = onnx.load(file)
    helper.set_model_props(fused, {"onnx.quant.pre_process": "onnxruntime.quant"})  # else it advises to do this
    return fused


def _tidy(found: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the quantized model with what was said about the original, and without what it does not need."""
    used = {node.domain for node in found.graph.node}
    opsets = [one for one in found.opset_import if one.domain in used or one.domain in ("", "ai.onnx")]
    props = {one.key: one.value for one in model.metadata_props}
    del found.opset_import[:], found.metadata_props[:], found.graph.value_info[:]
    found.opset_import.extend(opsets)
    helper.set_model_props(found, props)
    found.producer_name, found.producer_version = model.producer_name, model.producer_version
    return found


class _Reader:
    """Hands the images to the quantizer, which asks for a batch at a time."""

    def __init__(self, name: str, rows: np.ndarray) -> None:
        self._batches: Iterator[np.ndarray] = iter(np.array_split(rows, range(_BATCH, len(rows), _BATCH)))
        self._name = name

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}
