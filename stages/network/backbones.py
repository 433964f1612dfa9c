"""The backbones: what each is built from, and what it wants of its pixels. Adding one is adding a row."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
from keras import layers

from stages.base.stage import UserError


@dataclass(frozen=True)
class Backbone:
    """One row of the table.

    Attributes:
        build: takes the side of the images in pixels; returns a functional model without classifier, with random
            weights, from preprocessed images (n, side, side, channels) to feature maps or vectors.
        preprocessing: a key of ``stages.network.build.PREPROCESSING``.
        channels: 1 (grey) or 3 (RGB).
        smallest: the smallest side it takes.
    """

    build: Callable[[int], keras.Model]
    preprocessing: str
    channels: int
    smallest: int


def _mnist_cnn(side: int) -> keras.Model:
    pixels = keras.Input((side, side, 1), name="image")
    x = layers.Conv2D(32, 3, activation="relu", name="conv")(pixels)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(128, activation="relu", name="dense")(x)
    return keras.Model(pixels, layers.Dropout(0.2, name="dropout")(x), name="mnist_cnn")


def _application(constructor: Callable[..., keras.Model], side: int, **options: Any) -> keras.Model:
    return constructor(include_top=False, weights=None, input_shape=(side, side, 3), **options)


def _row(constructor: Callable[..., keras.Model], preprocessing: str, smallest: int, **options: Any) -> Backbone:
    return Backbone(partial(_application, constructor, **options), preprocessing, 3, smallest)


BACKBONES = {
    "mnist_cnn": Backbone(_mnist_cnn, "unit", 1, 8),
    "mobilenet": _row(keras.applications.MobileNet, "symmetric", 32),
    "mobilenet_025": _row(keras.applications.MobileNet, "symmetric", 32, alpha=0.25),
    "mobilenet_v2": _row(keras.applications.MobileNetV2, "symmetric", 32),
    "mobilenet_v2_035": _row(keras.applications.MobileNetV2, "symmetric", 32, alpha=0.35),
    "vgg16": _row(keras.applications.VGG16, "caffe", 32),
    "resnet50": _row(keras.applications.ResNet50, "caffe", 32),
    "inception_v3": _row(keras.applications.InceptionV3, "symmetric", 75),
}


def find(name: str, side: int) -> Backbone:
    """Return the row ``name``, having checked that it takes images of ``side`` pixels.

    Raises:
        UserError: there is no such backbone, or the images are too small for it.
    """
    if name not in BACKBONES:
        raise UserError(f"pretrain.backbone: expected one of {', '.join(BACKBONES)}; received '{name}'.")
    row = BACKBONES[name]
    if side < row.smallest:
        raise UserError(f"pretrain.image_size: {name} takes {row.smallest} px or more; received {side}.")
    return row
