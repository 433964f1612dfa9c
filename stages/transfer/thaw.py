"""Freeze and thaw the layers of a backbone for training."""

from collections.abc import Callable, Mapping
from functools import partial

import keras


def thaw(backbone: keras.Model, frozen: int, train_batchnorm: bool) -> None:
    """Freeze the first ``frozen`` layers of ``backbone`` for training, and thaw the others.

    ``training=False`` inside a functional model does nothing during ``fit`` (keras-team/keras#20285); what holds is
    ``trainable = False`` on each BatchNormalization layer, and no dropout in frozen layers.

    Args:
        train_batchnorm: whether thawed BatchNormalization layers train too; otherwise they keep what they learned.
    """
    for index, layer in enumerate(backbone.layers):
        batchnorm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= frozen and (train_batchnorm or not batchnorm)
        if index < frozen and isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0


class Thawing:
    """Freezes and thaws the layers of a backbone as often as asked; make it before any of them is frozen.

    Args:
        train_batchnorm: whether thawed BatchNormalization layers train too.
    """

    def __init__(self, backbone: keras.Model, train_batchnorm: bool) -> None:
        self._backbone, self._train_batchnorm = backbone, train_batchnorm
        self._rates = [(layer, layer.rate) for layer in backbone.layers if isinstance(layer, keras.layers.Dropout)]

    def freeze(self, frozen: int) -> None:
        """Freeze the first ``frozen`` layers alone; dropout in thawed ones has its rate again."""
        for layer, rate in self._rates:
            layer.rate = rate
        thaw(self._backbone, frozen, self._train_batchnorm)

    def steps(self, counts: Mapping[int, int]) -> dict[int, Callable[[], None]]:
        """Return the ``steps`` of ``stages.training.train.fit`` that freeze so many layers from these epochs on."""
        return {epoch: partial(self.freeze, frozen) for epoch, frozen in counts.items()}
