"""Write a network for TensorFlow's runtimes: uint8 pixels in, class probabilities out. Needs the backend TensorFlow.

LiteRT (once TensorFlow Lite) is the format of phones and small devices. SavedModel is the format of TensorFlow Serving,
and of ``keras.layers.TFSMLayer``. ``keras.Model.export`` writes other bytes at every run: the weights come in another
order each time. Saved as a plain ``tf.Module`` that lists its weights, the same network gives the same bytes, except
for ``fingerprint.pb``: it holds a random identifier and nothing that loading needs, so it is left out.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from stages.base.errors import UserError, summarize
from stages.compute.exported import INPUT, OUTPUT, SIGNATURE
from stages.compute.native_logs import silence_native_logs
from stages.compute.networks import Model
from stages.compute.runtime import keras


def make_serving_module(model: Model, size: int, channels: int) -> Any:
    """Return a ``tf.Module`` whose function ``serve`` runs the network and a softmax after it.

    Args:
        model: pixels 0-255 (n, size, size, channels) → logits (n, classes), with the Keras backend TensorFlow.
        size: side of the images, in pixels.
        channels: 1 or 3.

    Returns:
        A module whose ``serve`` takes uint8 ``pixels`` (n, size, size, channels) and returns a dict with
        ``probabilities``, float32 (n, classes).
    """
    for layer in _layers(model):  # what ConvNeXt has and converters cannot read
        if isinstance(layer, keras.layers.Conv2D) and 1 < layer.groups == layer.kernel.shape[-1]:
            layer.convolution_op = partial(_depthwise, layer)
        elif isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.gelu:
            layer.activation = _gelu

    def serve(pixels: Any) -> dict[str, Any]:
        logits = tf.cast(model(pixels, training=False), tf.float32)
        return {OUTPUT: tf.nn.softmax(logits, name=OUTPUT)}

    pixels = tf.TensorSpec((None, size, size, channels), tf.uint8, name=INPUT)
    module = tf.Module(name="thaw")
    module.weights = [weight.value for weight in model.weights]  # what is saved must be reachable from the module
    module.serve = tf.function(serve, input_signature=[pixels])
    return module


def write_litert(module: Any, path: Path, precision: str = "float32", rows: np.ndarray | None = None) -> None:
    """Write a module of ``make_serving_module`` as a LiteRT model.

    Only LiteRT's own operations are allowed, since the runtimes do not include TensorFlow's. The number of images is
    left open: the file says 1, and its input can be resized. Of float16, only the weights are; LiteRT converts them
    when it opens the file, unless it computes on a GPU. With int8, weights and activations are integers from the
    scaled pixels to the logits.

    Args:
        module: from ``make_serving_module``.
        path: of the file.
        precision: float32, float16 or int8.
        rows: uint8 images to calibrate int8 with, (n, size, size, channels).

    Raises:
        UserError: the network has an operation that LiteRT lacks, or lacks in this precision.
    """
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.serve.get_concrete_function()], module)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        remedy = f"Leave {precision} out of export.quantize"
    else:
        remedy = "Leave litert out of export.formats"
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif precision == "int8":
        assert rows is not None
        converter.representative_dataset = lambda: ([row[None]] for row in rows)
    with silence_native_logs():
        try:
            content = converter.convert()
        except Exception as error:  # the converter's own error class is not public
            failure = UserError(
                f"litert: expected a network of operations that LiteRT has, received one it cannot convert "
                f"({summarize(error)}). {remedy}."
            )
        else:
            path.write_bytes(content)
            return
    raise failure from None


def write_saved_model(module: Any, folder: Path) -> None:
    """Write a module of ``make_serving_module`` as a SavedModel, with the signature ``serving_default``.

    Args:
        module: from ``make_serving_module``.
        folder: must not exist yet.
    """
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.serve})
    (folder / "fingerprint.pb").unlink()
    (folder / "assets").rmdir()  # empty: git and DVC would not keep it


def _layers(model: Model) -> Iterator[keras.Layer]:
    """Yield the layers of a network, and those of the networks among them."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def _depthwise(layer: keras.layers.Conv2D, inputs: Any, kernel: Any) -> Any:
    """Convolve each channel by itself. Keras's TensorFlow backend compiles a convolution of groups with XLA instead."""
    kernel = keras.ops.transpose(kernel, (0, 1, 3, 2))  # (h, w, 1, channels) → (h, w, channels, 1)
    return keras.ops.depthwise_conv(inputs, kernel, layer.strides, layer.padding, dilation_rate=layer.dilation_rate)


def _gelu(x: Any) -> Any:
    """The activation x Φ(x) by erf, which all formats have; TensorFlow takes erfc."""
    return 0.5 * x * (1 + keras.ops.erf(x * 0.5**0.5))
