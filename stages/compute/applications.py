"""Build backbones with random weights: those of ``keras.applications``, and two that tutorials build themselves."""

from collections.abc import Sequence
from typing import Any

from stages.compute.networks import Model
from stages.compute.runtime import device_count, keras

layers = keras.layers


def build_model(
    constructor: str,
    side: int,
    alpha: float | None = None,
    rescaling: tuple[Sequence[float], Sequence[float]] | None = None,
    *,
    classifier: bool = False,
) -> Model:
    """Return a functional model: preprocessed images (n, side, side, channels) → features.

    Layers that Keras numbers (``conv2d_7``) are numbered from the start, whatever was built before: weights files and
    params.yaml name them.

    Args:
        constructor: name of a function of this module, or of ``keras.applications``.
        side: of the images, in pixels.
        alpha: width multiplier of a MobileNet; None for other networks.
        rescaling: scale and offset of each channel, applied before the model's own first layer; None for none.
        classifier: whether to include the classifier of ``keras.applications``, which outputs class probabilities.
    """
    if device_count() == 1:  # with several devices it would end their strategy, and ``start`` has already done it
        keras.utils.clear_session(free_memory=False)
    if constructor in OWN:
        return OWN[constructor](side)
    options: dict[str, Any] = {} if alpha is None else {"alpha": alpha}
    if rescaling:
        scale, offset = rescaling
        image = keras.Input((side, side, 3), name="image")
        options["input_tensor"] = layers.Rescaling(scale, offset=offset, name="deviation")(image)
    build = getattr(keras.applications, constructor)
    return build(include_top=classifier, weights=None, input_shape=(side, side, 3), **options)


def mnist_cnn(side: int) -> Model:
    """Return Conv 32 3x3, MaxPool, Flatten, Dense 128, Dropout 0.2: (n, side, side, 1) → (n, 128)."""
    pixels = keras.Input((side, side, 1), name="image")
    x = layers.Conv2D(32, 3, activation="relu", name="conv")(pixels)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(128, activation="relu", name="dense")(x)
    return keras.Model(pixels, layers.Dropout(0.2, name="dropout")(x), name="mnist_cnn")


def three_conv_cnn(side: int) -> Model:
    """Return Conv 32, 64 and 128, each 3x3 with MaxPool: (n, side, side, 3) → feature maps (n, h, h, 128)."""
    x = pixels = keras.Input((side, side, 3), name="image")
    for number, filters in enumerate((32, 64, 128), start=1):
        x = layers.Conv2D(filters, 3, activation="relu", name=f"block{number}_conv")(x)
        x = layers.MaxPooling2D(name=f"block{number}_pool")(x)
    return keras.Model(pixels, x, name="three_conv_cnn")


OWN = {"mnist_cnn": mnist_cnn, "three_conv_cnn": three_conv_cnn}
