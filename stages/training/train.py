"""Train a model epoch by epoch, end with the weights of the best epoch, and resume an interrupted training.

The loop is hand-written because heads are small: it gives the backend all steps of an epoch in one call, and trains a
head in 3 to 8 seconds where ``Model.fit(steps_per_execution=32)`` took 16 to 20.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax
from tqdm import tqdm

from stages.base.prefetch import prefetch
from stages.base.terminal import say
from stages.compute.forward import Forward
from stages.compute.networks import Model
from stages.compute.on_backend import TrainStep
from stages.compute.optimizers import OptimizerConfig, build_optimizer
from stages.compute.runtime import device_count
from stages.compute.trainable import assign_values, get_values, learns_statistics
from stages.training.checkpoint import Checkpoint
from stages.training.dataloader import Data, count_batches, iterate_chunks
from stages.training.history import COLUMNS, check_losses, describe_epoch, make_table
from stages.training.schedule import LearningRateSchedule


@dataclass(frozen=True)
class TrainingConfig:
    """How long and how to train.

    Attributes:
        epochs: at most.
        learning_rate: the highest.
        batch_size: inputs per step.
        seed: of the order of the inputs.
        checkpoint: whose weights the training ends with: ``best``, the epoch with the lowest validation loss;
            ``best_accuracy``, the one with the highest validation accuracy, and among several the one of them with the
            lowest loss; or ``last``. Among equals it is the earliest.
        early_stopping: stop after this many epochs without a lower validation loss; 0: never.
        plateau_patience: reduce the learning rate after this many such epochs; 0: never.
        plateau_factor: multiplies the learning rate then.
        plateau_floor: the lowest that the learning rate is reduced to.
        optimizer: which one.
        schedule: ``constant`` or ``cosine``; see ``LearningRateSchedule``.
        warmup: epochs in which the learning rate rises.
        label_smoothing: share of each training target that is spread over all classes (Szegedy et al. 2016).
        balanced: weight each training image by n / (classes * images of its class), so that classes count alike.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    seed: int
    checkpoint: str = "last"
    early_stopping: int = 0
    plateau_patience: int = 0
    plateau_factor: float = 0.5
    plateau_floor: float = 0.0
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: str = "constant"
    warmup: int = 0
    label_smoothing: float = 0.0
    balanced: bool = False


@dataclass
class _Progress:
    """Everything that the next epoch depends on, except for the variables."""

    epoch: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    lowest: float = math.inf
    since_lowest: int = 0
    since_reduced: int = 0
    factor: float = 1.0
    stopped: bool = False

    def add(self, row: dict[str, float], config: TrainingConfig) -> bool:
        """Record the metrics of an epoch; return whether its weights are the best so far.

        Patience always watches the loss, which tells sooner than the accuracy whether the training still gets better.
        """
        self.rows.append(row)
        self.epoch += 1
        loss = row.get("val_loss")
        if loss is None:
            return False
        better = self.epoch == 1 or _rank(row, config) > _rank(self.rows[self.best_epoch], config)
        if better:
            self.best_epoch = self.epoch - 1
        if loss < self.lowest:
            self.lowest, self.since_lowest, self.since_reduced = loss, 0, 0
        else:
            self.since_lowest += 1
            self.since_reduced += 1
        if config.plateau_patience and self.since_reduced >= config.plateau_patience:
            self.factor = max(self.factor * config.plateau_factor, config.plateau_floor / config.learning_rate)
            self.since_reduced = 0
        self.stopped = bool(config.early_stopping) and self.since_lowest >= config.early_stopping
        return better

    def reset_patience(self) -> None:
        """Start over with other layers thawed: patience and learning rate are those of a first epoch."""
        self.since_lowest = self.since_reduced = 0
        self.factor = 1.0


def _rank(row: Mapping[str, float], config: TrainingConfig) -> tuple[float, ...]:
    by_accuracy = config.checkpoint == "best_accuracy"
    return (row["val_accuracy"], -row["val_loss"]) if by_accuracy else (-row["val_loss"],)


def fit(  # noqa: C901, PLR0912  (a training loop reads best in one piece)
    model: Model,
    phase: str,
    training: Data,
    validation: Data | None,
    config: TrainingConfig,
    *,
    resume: Path | None = None,
    rate_factors: Mapping[int, float] = MappingProxyType({}),
    before_epoch: Mapping[int, Callable[[], None]] = MappingProxyType({}),
) -> pd.DataFrame:
    """Train ``model``, from inputs to logits, on the cross-entropy.

    Args:
        model: ends with the weights of the best epoch, or of the last.
        phase: name, for the progress bar, the history and the checkpoint.
        training: data to train on.
        validation: data to select the best epoch with; None to end with the last.
        config: how to train.
        resume: folder for a checkpoint after the latest epoch (see ``stages.training.checkpoint``). If it holds one,
            the training resumes from there, with the same final bytes.
        rate_factors: of the learning rate, by ``id`` of the variable; see ``build_optimizer``.
        before_epoch: functions that change which layers train, by the epoch, counted from 0, that they precede. Each
            resets the optimizer (as in fastai) and the patience.

    Returns:
        The history: one row per epoch (see ``history.COLUMNS``); ``kept`` is 1 for the epoch whose weights are used.

    Raises:
        UserError: the loss is NaN or infinite.
    """
    if config.epochs == 0:
        return pd.DataFrame(columns=COLUMNS)
    config = replace(config, batch_size=min(config.batch_size, len(training)))

    def compile_for(epoch: int) -> TrainStep:
        if past := [start for start in before_epoch if start <= epoch]:
            before_epoch[max(past)]()
        model.optimizer = build_optimizer(config.optimizer, model.trainable_variables, rate_factors)
        return TrainStep(model)

    progress, best_weights = _Progress(), list[np.ndarray]()
    checkpoint = Checkpoint(resume, phase) if resume else None
    if checkpoint and (saved := checkpoint.read()):
        progress = _Progress(**saved[0])
        train_step = compile_for(progress.epoch - 1)
        assign_values(model.variables, saved[1]["model"])
        assign_values(model.optimizer.variables, saved[1]["optimizer"])
        best_weights = saved[1]["best"]
        if not progress.stopped and progress.epoch < config.epochs:
            say(f"resuming at epoch {progress.epoch + 1} of {config.epochs} ({phase})")
    else:
        train_step = compile_for(0)
    predict = Forward(model, config.batch_size)

    def save() -> None:
        if checkpoint:
            variables = {"model": model.variables, "optimizer": model.optimizer.variables}
            values = {name: get_values(group) for name, group in variables.items()}
            checkpoint.write(asdict(progress), {**values, "best": best_weights})

    class_weights = compute_class_weights(training) if config.balanced else None
    epochs = range(progress.epoch, config.epochs)
    with tqdm(total=config.epochs, initial=epochs.start, desc=f"  {phase}", unit=" epoch", **_BAR) as bar:
        for epoch in epochs:
            if progress.stopped and epoch > max(before_epoch, default=0):
                say(f"{phase}: stopped early, after {_epochs(config.early_stopping)} without a lower validation loss")
                break
            if epoch and epoch in before_epoch:
                train_step = compile_for(epoch)
                progress.reset_patience()
                say(f"{phase}: other layers train from epoch {epoch + 1}; the optimizer and all patience start over")
            pad = not learns_statistics(model)
            row = _train_epoch(
                train_step, training, config, epoch=epoch, factor=progress.factor, weights=class_weights, pad=pad
            )
            if validation is not None:
                row |= {f"val_{key}": value for key, value in measure(predict, validation).items()}
            check_losses(phase, epoch, row)
            say(describe_epoch(phase, epoch, config.epochs, row))
            factor, better = progress.factor, progress.add(row, config)
            if progress.factor < factor and not progress.stopped and epoch + 1 < config.epochs:
                say(
                    f"{phase}: learning rate reduced to {config.learning_rate * progress.factor:.3g}, after "
                    f"{_epochs(config.plateau_patience)} without a lower validation loss"
                )
            if better and config.checkpoint != "last":
                best_weights = model.get_weights()
            if checkpoint and checkpoint.due:
                save()
            bar.set_postfix({key: f"{value:.3g}" for key, value in row.items()}, refresh=False)
            bar.update()
    if len(epochs):
        save()
    if best_weights:
        model.set_weights(best_weights)
    model.optimizer = None  # else it would be saved with the weights
    return make_table(progress.rows, phase, progress.best_epoch if best_weights else progress.epoch - 1)


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' * (count > 1)}"


_BAR: dict[str, Any] = {"leave": False, "disable": None}  # on a terminal only


def _train_epoch(
    train_step: TrainStep,
    data: Data,
    config: TrainingConfig,
    *,
    epoch: int,
    factor: float,
    weights: np.ndarray | None,
    pad: bool,
) -> dict[str, float]:
    """Train one epoch; return its mean loss and accuracy, and the learning rate in its middle."""
    batches, done = count_batches(data, config.batch_size), 0
    rates = LearningRateSchedule(config.learning_rate * factor, config.epochs, config.schedule, config.warmup)
    loss = correct = 0.0
    for chunk in iterate_chunks(
        data, config.batch_size, epoch=epoch, seed=config.seed, multiple=device_count(), pad=pad
    ):
        targets = chunk.targets * (1 - config.label_smoothing) + config.label_smoothing / data.classes
        row_weights = chunk.weights if weights is None else chunk.weights * (chunk.targets @ weights)
        first = epoch * batches + done
        step_rates = [rates.rate_at(first + step, batches) for step in range(len(chunk.rows))]
        sums = train_step(chunk.inputs, targets, row_weights, step_rates).astype(np.float64)
        loss, correct = loss + float(sums[:, 0] @ chunk.rows), correct + float(sums[:, 1].sum())
        done += len(chunk.rows)
    return {
        "loss": loss / len(data),
        "accuracy": correct / len(data),
        "learning_rate": rates.rate_at(epoch * batches + batches // 2, batches),
    }


def measure(predict: Forward, data: Data) -> dict[str, float]:
    """Return the plain loss and accuracy of a model on ``data``.

    Args:
        predict: from inputs to logits.
        data: not augmented.
    """
    loss = correct = 0.0
    places = np.arange(len(data))
    size = predict.batch_size
    for inputs, targets in prefetch((data.batch(places[at : at + size], 0) for at in range(0, len(data), size)), 2):
        logits = predict(inputs)
        loss -= float(np.sum(targets * log_softmax(logits.astype(np.float64), axis=1)))
        correct += float(np.sum(targets.argmax(axis=1) == logits.argmax(axis=1)))
    return {"loss": loss / len(data), "accuracy": correct / len(data)}


def compute_class_weights(data: Data) -> np.ndarray:
    """Return n / (classes * rows of the class) for each class, float32 (classes,)."""
    counts = np.bincount(data.labels, minlength=data.classes)
    return (len(data) / (data.classes * np.maximum(counts, 1))).astype(np.float32)
