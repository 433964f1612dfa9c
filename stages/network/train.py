"""Train a model on arrays, in memory or on disk, and say which epoch was kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm


@dataclass(frozen=True)
class Data:
    """Inputs (n, ...) and their classes (n,). ``inputs`` may be a memory-mapped file: batches are read as needed."""

    inputs: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        epochs: at most.
        learning_rate: Adam's step size at the start.
        batch_size: inputs per step.
        seed: of the order of the inputs.
        keep_best: end with the weights of the epoch with the lowest validation loss, instead of the last epoch's.
        early_stopping: stop after this many epochs without a lower validation loss; 0: never.
        plateau_patience: reduce the learning rate after this many such epochs; 0: never.
        plateau_factor: what it is multiplied by.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    seed: int
    keep_best: bool = False
    early_stopping: int = 0
    plateau_patience: int = 0
    plateau_factor: float = 0.5


class _Batches(keras.utils.PyDataset):
    """Batches of ``data``, in a new order each epoch when ``seed`` is given, else in their own order."""

    def __init__(self, data: Data, batch_size: int, seed: int | None) -> None:
        super().__init__()
        self._data, self._batch_size, self._seed, self._epoch = data, batch_size, seed, 0
        self._shuffle()

    def _shuffle(self) -> None:
        self._order = np.arange(len(self._data))
        if self._seed is not None:
            np.random.default_rng([self._seed, self._epoch]).shuffle(self._order)

    def __len__(self) -> int:
        return -(-len(self._data) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.sort(self._order[index * self._batch_size : (index + 1) * self._batch_size])  # files like order
        return self._data.inputs[rows], self._data.labels[rows]

    def on_epoch_end(self) -> None:
        self._epoch += 1
        self._shuffle()


class _Bar(keras.callbacks.Callback):
    """One line that grows: epochs done, the latest loss. Shown on a terminal only."""

    def __init__(self, name: str, epochs: int) -> None:
        super().__init__()
        self._bar = tqdm(total=epochs, desc=f"  {name}", unit=" epoch", leave=False, disable=None)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._bar.set_postfix({key: f"{value:.3g}" for key, value in (logs or {}).items()}, refresh=False)
        self._bar.update()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self._bar.close()


COLUMNS = ["phase", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "kept"]


def fit(model: keras.Model, name: str, training: Data, validation: Data | None, schedule: Schedule) -> pd.DataFrame:
    """Train ``model``, from inputs to logits, with Adam on the cross-entropy.

    It ends with the weights of the epoch kept.

    Args:
        name: of the phase, for the bar and the table.
        validation: None where there is none; then the last epoch is kept.

    Returns:
        The history: one row an epoch, with the columns COLUMNS; ``kept`` is 1 for the epoch whose weights were kept.
    """
    if schedule.epochs == 0:
        return pd.DataFrame(columns=COLUMNS)
    model.compile(
        optimizer=keras.optimizers.Adam(schedule.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # XLA made a MobileNetV2 13 times slower under TensorFlow on a CPU; JAX needs it.
        jit_compile="auto" if keras.backend.backend() == "jax" else False,
    )
    best = keras.callbacks.EarlyStopping(
        monitor="val_loss",
        patience=schedule.early_stopping or schedule.epochs,
        restore_best_weights=schedule.keep_best,
    )
    callbacks: list[keras.callbacks.Callback] = [_Rate(), _Bar(name, schedule.epochs)]
    if validation is not None:
        callbacks.append(best)
        if schedule.plateau_patience:
            callbacks.append(
                keras.callbacks.ReduceLROnPlateau(
                    monitor="val_loss",
                    patience=schedule.plateau_patience,
                    factor=schedule.plateau_factor,
                    min_delta=0.0,
                )
            )
    history = model.fit(
        _Batches(training, schedule.batch_size, schedule.seed),
        validation_data=None if validation is None else _Batches(validation, schedule.batch_size, None),
        epochs=schedule.epochs,
        shuffle=False,  # _Batches draws the order
        callbacks=callbacks,
        verbose=0,
    )
    table = pd.DataFrame(history.history)
    table["phase"], table["epoch"] = name, range(1, len(table) + 1)
    kept = best.best_epoch if validation is not None and schedule.keep_best else len(table) - 1
    table["kept"] = [int(row == kept) for row in range(len(table))]
    return table.reindex(columns=COLUMNS)


class _Rate(keras.callbacks.Callback):
    """Log the learning rate each epoch was trained with."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._rate = float(self.model.optimizer.learning_rate)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self._rate


def join(histories: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the phases' histories as one table, with the epochs counted through."""
    filled = [history for history in histories if len(history)]
    table = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=COLUMNS)
    table["epoch"] = range(1, len(table) + 1)
    return table
