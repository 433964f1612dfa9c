"""Gradual thawing: what is frozen changes from epoch to epoch."""

from collections.abc import Callable, Mapping, Sequence

import keras
import pandas as pd

from stages.base.stage import UserError
from stages.network.freeze import frozen_count, layer_table, thaw


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

    def table(self, frozen: int) -> pd.DataFrame:
        """Return ``stages.network.freeze.layer_table`` with the first ``frozen`` layers frozen."""
        return layer_table(self._backbone, frozen, self._train_batchnorm)

    def steps(self, counts: Mapping[int, int]) -> dict[int, Callable[[], None]]:
        """Return the ``steps`` of ``stages.network.train.fit`` that freeze so many layers from these epochs on."""
        return {epoch: lambda frozen=frozen: self.freeze(frozen) for epoch, frozen in counts.items()}  # type: ignore[misc]


def gradually(
    backbone: keras.Model, plan: Sequence[tuple[int, int | str]], blocks: Mapping[str, str], least: int
) -> dict[int, int]:
    """Return how many layers are frozen from which epoch on, epochs counted from 0.

    The gradual unfreezing of ULMFiT (Howard & Ruder 2018): the last block first, then one more at a time, so that what
    was learned before is not lost to the large gradients of a head that is new.

    Args:
        plan: pairs of an epoch, counted from 1, and a value as of ``extract.freeze``; [] for ``least`` from the start.
        blocks: names of the backbone's blocks, each with its first layer.
        least: layers that stay frozen throughout.

    Raises:
        UserError: there is no such block or layer, or it would thaw one of those.
    """
    names = [layer.name for layer in backbone.layers]
    counts: dict[int, int] = {}
    for epoch, freeze in plan:
        frozen = frozen_count(names, freeze, blocks, "finetune.thawed.gradual")
        if frozen < least:
            raise UserError(
                f"finetune.thawed.gradual: expected at least the {least} layers frozen that finetune.thawed.freeze "
                f"freezes; received freeze: {freeze} for epoch {epoch}, which freezes {frozen}."
            )
        counts[epoch - 1] = frozen
    return counts or {0: least}
