"""The backbones that tutorials build themselves, to be trained from scratch."""

import keras
from keras import layers


def mnist_cnn(side: int) -> keras.Model:
    """Return Conv 32 3x3, MaxPool, Flatten, Dense 128, Dropout 0.2: (n, side, side, 1) → (n, 128)."""
    pixels = keras.Input((side, side, 1), name="image")
    x = layers.Conv2D(32, 3, activation="relu", name="conv")(pixels)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(128, activation="relu", name="dense")(x)
    return keras.Model(pixels, layers.Dropout(0.2, name="dropout")(x), name="mnist_cnn")


def three_conv_cnn(side: int) -> keras.Model:
    """Return Conv 32, 64 and 128, each 3x3 with MaxPool: (n, side, side, 3) → feature maps (n, h, h, 128)."""
    x = pixels = keras.Input((side, side, 3), name="image")
    for number, filters in enumerate((32, 64, 128), start=1):
        x = layers.Conv2D(filters, 3, activation="relu", name=f"block{number}_conv")(x)
        x = layers.MaxPooling2D(name=f"block{number}_pool")(x)
    return keras.Model(pixels, x, name="three_conv_cnn")
