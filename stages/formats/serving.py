"""A network as it is served: uint8 pixels in, class probabilities out. All formats are made from this one function.

TensorFlow only.
"""

from typing import Any

import keras
import tensorflow as tf

from stages.formats.card import INPUT, OUTPUT


def serving(model: keras.Model, size: int, channels: int) -> Any:
    """Return a ``tf.Module`` whose function ``serve`` runs the network and a softmax after it.

    Args:
        model: pixels 0-255 (n, size, size, channels) → logits (n, classes), with the Keras backend TensorFlow.
        size: side of the images, in pixels.
        channels: 1 or 3.

    Returns:
        A module whose ``serve`` takes uint8 ``pixels`` (n, size, size, channels) and gives a dict with
        ``probabilities``, float32 (n, classes).
    """

    def serve(pixels: Any) -> dict[str, Any]:
        logits = tf.cast(model(pixels, training=False), tf.float32)
        return {OUTPUT: tf.nn.softmax(logits, name=OUTPUT)}

    pixels = tf.TensorSpec((None, size, size, channels), tf.uint8, name=INPUT)
    module = tf.Module(name="thaw")
    module.weights = [weight.value for weight in model.weights]  # what is saved must be reachable from the module
    module.serve = tf.function(serve, input_signature=[pixels])
    return module
