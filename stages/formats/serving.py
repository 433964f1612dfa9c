"""A network as TensorFlow serves it: uint8 pixels in, class probabilities out. LiteRT and SavedModel are made from it.

TensorFlow only.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from stages.formats.card import INPUT, OUTPUT


def make_serving_module(model: keras.Model, size: int, channels: int) -> Any:
    """Return a ``tf.Module`` whose function ``serve`` runs the network and a softmax after it.

    Args:
        model: pixels 0-255 (n, size, size, channels) → logits (n, classes), with the Keras backend TensorFlow.
        size: side of the images, in pixels.
        channels: 1 or 3.

    Returns:
        A module whose ``serve`` takes uint8 ``pixels`` (n, size, size, channels) and gives a dict with
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


def _layers(model: keras.Model) -> Iterator[keras.Layer]:
    """Go through the layers of a network, and those of the networks among them."""
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
