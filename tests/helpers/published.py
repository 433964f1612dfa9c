"""Weights files in the layout in which keras.applications publishes them, made from networks with random weights."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import keras
import numpy as np

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def write_published(layers: Sequence[keras.Layer], path: Path) -> None:
    """Write the weights of ``layers`` to ``path``, in the older layout of Keras's HDF5 files."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        file.attrs["keras_version"] = b"2.4.0"
        for layer in layers:
            group = file.create_group(layer.name)
            weights = layer.trainable_weights + layer.non_trainable_weights
            names = [f"{layer.name}/{number}:0".encode() for number in range(len(weights))]
            group.attrs["weight_names"] = names
            for name, weight in zip(names, weights, strict=True):
                group.create_dataset(name.decode(), data=np.asarray(weight))


def vary(backbone: keras.Model, seed: int = 0) -> None:
    """Give BatchNormalization layers statistics that vary, and EfficientNet's input its published normalization."""
    draw = np.random.default_rng(seed)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shapes = [weight.shape for weight in layer.weights]
            low = {"gamma": 0.8, "beta": -0.2, "moving_mean": -0.2, "moving_variance": 0.8}
            high = {"gamma": 1.2, "beta": 0.2, "moving_mean": 0.2, "moving_variance": 1.2}
            names = [weight.name for weight in layer.weights]
            layer.set_weights(
                [draw.uniform(low[name], high[name], shape) for name, shape in zip(names, shapes, strict=True)]
            )
        elif isinstance(layer, keras.layers.Normalization) and layer.weights:
            layer.set_weights([np.array(MEAN), np.array(DEVIATION), np.array(0)][: len(layer.weights)])
            layer.finalize_state()
