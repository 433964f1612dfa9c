"""A miniature of the real backbones: convolutions, BatchNormalization, a residual block and dropout."""

import keras
import numpy as np
from keras import layers

from stages.compute.architecture import describe
from stages.compute.networks import Backbone


def miniature(side: int = 16, channels: int = 1) -> keras.Model:
    """Return a residual network with statistics that vary; blocks: stem, block1, block2."""
    pixels = keras.Input((side, side, channels), name="image")
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="stem_conv")(pixels)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = stem = layers.ReLU(name="stem_relu")(x)
    x = layers.Conv2D(8, 3, padding="same", name="block1_conv")(x)
    x = layers.BatchNormalization(name="block1_bn")(x)
    x = layers.Dropout(0.5, name="block1_dropout")(x)
    x = layers.Add(name="block1_add")([stem, x])
    x = layers.Conv2D(12, 3, strides=2, padding="same", name="block2_conv")(x)
    x = layers.BatchNormalization(name="block2_bn")(x)
    x = layers.ReLU(name="block2_out")(x)
    model = keras.Model(pixels, x, name="miniature")
    draw = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.set_weights(
                [draw.uniform(low, high, shape) for low, high in [(0.5, 1.5), (-1, 1), (-1, 1), (0.5, 2)]]
            )
    return model


def pictures(count: int, side: int = 16, channels: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 pictures with a bright bar, across (label 0) or upright (label 1), at a drawn place, and labels."""
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 90, (count, side, side, channels), dtype=np.uint8)
    labels = draw.integers(0, 2, count)
    for picture, label, place in zip(pixels, labels, draw.integers(2, side - 4, count), strict=True):
        picture[(slice(place, place + 2), slice(None)) if label == 0 else (slice(None), slice(place, place + 2))] = 230
    return pixels, labels.astype(np.int64)


def as_backbone(model: keras.Model, preprocessing: str = "unit", blocks: dict[str, str] | None = None) -> Backbone:
    """Return a model as the backbone that a network is built from."""
    return Backbone(model, describe(model, blocks or {}), preprocessing)
