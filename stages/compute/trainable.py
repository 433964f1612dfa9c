"""Which layers of a model train, and the values of its variables."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from stages.compute.networks import Model
from stages.compute.runtime import keras


def freeze_layers(model: Model, frozen: int, train_batchnorm: bool) -> None:
    """Freeze the first ``frozen`` layers of ``model`` for training, and thaw the others.

    ``training=False`` inside a functional model has no effect in ``fit`` (keras-team/keras#20285). What works is
    ``trainable = False`` on each BatchNormalization layer, and no dropout in frozen layers.

    Args:
        model: a backbone; its layers are changed.
        frozen: how many layers, counted from the input.
        train_batchnorm: whether thawed BatchNormalization layers train too; otherwise they keep their statistics.
    """
    for index, layer in enumerate(model.layers):
        batchnorm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= frozen and (train_batchnorm or not batchnorm)
        for dropping in _find_dropout(layer) if index < frozen else []:
            dropping.rate = 0.0


def _find_dropout(model: Any) -> list[Any]:
    """Return the layers in a model, or inside a layer, that drop units."""
    return [layer for layer in model._flatten_layers() if hasattr(layer, "rate")]


class LayerFreezer:
    """Freezes and thaws the layers of a backbone any number of times. Create it before any layer is frozen.

    Args:
        model: the backbone.
        train_batchnorm: whether thawed BatchNormalization layers train too.
        uncounted: leading layers that freeze counts exclude: the input of a Sequential model.
    """

    def __init__(self, model: Model, train_batchnorm: bool, uncounted: int = 0) -> None:
        self._model, self._train_batchnorm, self._uncounted = model, train_batchnorm, uncounted
        self._dropout = [(layer, layer.rate) for layer in _find_dropout(model)]

    def freeze(self, frozen: int) -> None:
        """Freeze only the first ``frozen`` layers, and restore the dropout rate of thawed layers."""
        for layer, rate in self._dropout:
            layer.rate = rate
        freeze_layers(self._model, frozen + self._uncounted, self._train_batchnorm)

    def callbacks(self, frozen_from: Mapping[int, int]) -> dict[int, Callable[[], None]]:
        """Return ``before_epoch`` of ``stages.training.train.fit``: from each epoch on, so many layers are frozen."""
        return {epoch: partial(self.freeze, frozen) for epoch, frozen in frozen_from.items()}


def learns_statistics(model: Model) -> bool:
    """Whether a BatchNormalization layer trains, so that each row of a batch affects the outputs of the others."""
    return any(
        isinstance(layer, keras.layers.BatchNormalization) and layer.trainable for layer in model._flatten_layers()
    )


def has_dropout(model: Model) -> bool:
    """Whether any Dropout layer is active in training."""
    return any(layer.rate > 0 for layer in _find_dropout(model))


def count_trainable(model: Model) -> int:
    """Return how many parameters the optimizer updates: all but frozen ones and BatchNormalization statistics."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def get_values(variables: Sequence[Any]) -> list[np.ndarray]:
    """Return the values of Keras variables as NumPy arrays."""
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def assign_values(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    """Set Keras variables to ``values``, in the same order."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
