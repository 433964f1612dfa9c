"""Train a model epoch by epoch, say which epoch was kept, and go on where an interrupted run stopped."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import pandas as pd
from scipy.special import log_softmax
from tqdm import tqdm

from stages.base.prefetch import prefetch
from stages.base.terminal import say
from stages.compute.forward import Forward
from stages.compute.on_backend import Steps
from stages.compute.optimizers import Rates, Rule, optimizer
from stages.compute.runtime import device_count
from stages.training.checkpoint import States
from stages.training.dataloader import Data, chunks, count
from stages.training.history import COLUMNS, check_losses, table


@dataclass(frozen=True)
class Schedule:
    """How long and how to train.

    Attributes:
        epochs: at most.
        learning_rate: the highest step size.
        batch_size: inputs per step.
        seed: of the order of the inputs.
        keep_best: end with the weights of the epoch with the lowest validation loss, instead of the last epoch's.
        early_stopping: stop after this many epochs without a lower validation loss; 0: never.
        plateau_patience: reduce the learning rate after this many such epochs; 0: never.
        plateau_factor: what it is multiplied by.
        rule: the optimizer.
        kind: ``constant`` or ``cosine``; see ``Rates``.
        warmup: epochs in which the learning rate rises.
        label_smoothing: share of each training target that is spread over all classes (Szegedy et al. 2016).
        balanced: weigh each training image by n / (classes * images of its class), so that classes count alike.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    seed: int
    keep_best: bool = False
    early_stopping: int = 0
    plateau_patience: int = 0
    plateau_factor: float = 0.5
    rule: Rule = field(default_factory=Rule)
    kind: str = "constant"
    warmup: int = 0
    label_smoothing: float = 0.0
    balanced: bool = False


@dataclass
class _Progress:
    """How far a training is: everything that the next epoch depends on, but for the variables."""

    epoch: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    best: float = math.inf
    kept: int = 0
    since_best: int = 0
    since_reduced: int = 0
    factor: float = 1.0
    stopped: bool = False

    def add(self, row: dict[str, float], schedule: Schedule) -> bool:
        """Take in what an epoch gave; return whether its weights are the best so far."""
        self.rows.append(row)
        self.epoch += 1
        loss = row.get("val_loss")
        if loss is None:
            return False
        better = loss < self.best
        if better:
            self.best, self.kept, self.since_best, self.since_reduced = loss, self.epoch - 1, 0, 0
        else:
            self.since_best += 1
            self.since_reduced += 1
        if schedule.plateau_patience and self.since_reduced >= schedule.plateau_patience:
            self.factor *= schedule.plateau_factor
            self.since_reduced = 0
        self.stopped = bool(schedule.early_stopping) and self.since_best >= schedule.early_stopping
        return better

    def begin(self) -> None:
        """Start afresh with other layers thawed: the next epochs are no worse for what came before."""
        self.since_best = self.since_reduced = 0
        self.factor = 1.0


def fit(  # noqa: C901  (a training loop reads best in one piece)
    model: keras.Model,
    name: str,
    training: Data,
    validation: Data | None,
    schedule: Schedule,
    resume: Path | None = None,
    *,
    factors: Mapping[int, float] = MappingProxyType({}),
    steps: Mapping[int, Callable[[], None]] = MappingProxyType({}),
) -> pd.DataFrame:
    """Train ``model``, from inputs to logits, on the cross-entropy. It ends with the weights of the epoch kept.

    Args:
        name: of the phase, for the bar, the table and the state.
        validation: None where there is none; then the last epoch is kept.
        resume: folder for the state after the latest epoch (see ``stages.training.checkpoint``); where it holds one,
            the training goes on from there, to the same bytes.
        factors: of the learning rate, by ``id`` of the variable, such as ``by_depth`` gives.
        steps: what to do before an epoch, counted from 0, that changes which layers train. With each, the optimizer
            starts afresh (as in fastai), and so does the patience.

    Returns:
        The history: one row an epoch (see ``history.COLUMNS``); ``kept`` is 1 for the epoch whose weights were kept.

    Raises:
        UserError: the loss is no longer a number.
    """
    if schedule.epochs == 0:
        return pd.DataFrame(columns=COLUMNS)
    schedule = replace(schedule, batch_size=min(schedule.batch_size, len(training)))

    def compile_for(epoch: int) -> Steps:
        if begun := [start for start in steps if start <= epoch]:
            steps[max(begun)]()
        model.optimizer = optimizer(schedule.rule, factors)
        model.optimizer.build(model.trainable_variables)
        return Steps(model)

    progress, best = _Progress(), list[np.ndarray]()
    states = States(resume, name) if resume else None
    if states and (stored := states.read()):
        progress = _Progress(**stored[0])
        take = compile_for(progress.epoch - 1)
        _assign(model.variables, stored[1]["model"])
        _assign(model.optimizer.variables, stored[1]["optimizer"])
        best = stored[1]["best"]
        if not progress.stopped and progress.epoch < schedule.epochs:
            say(f"goes on from epoch {progress.epoch + 1} of {schedule.epochs} ({name})")
    else:
        take = compile_for(0)
    predict = Forward(model, schedule.batch_size)

    def save() -> None:
        if states:
            arrays = {"model": model.variables, "optimizer": model.optimizer.variables}
            values = {name: [keras.ops.convert_to_numpy(value) for value in group] for name, group in arrays.items()}
            states.write(asdict(progress), {**values, "best": best})

    weights = _class_weights(training) if schedule.balanced else None
    epochs = range(progress.epoch, schedule.epochs)
    with tqdm(total=schedule.epochs, initial=epochs.start, desc=f"  {name}", unit=" epoch", **_BAR) as bar:
        for epoch in epochs:
            if progress.stopped and epoch > max(steps, default=0):
                break
            if epoch and epoch in steps:
                take = compile_for(epoch)
                progress.begin()
            row = _epoch(take, model, training, epoch, schedule, progress.factor, weights)
            if validation is not None:
                row |= {f"val_{key}": value for key, value in measure(predict, validation).items()}
            check_losses(name, epoch, row)
            better = progress.add(row, schedule)
            if schedule.keep_best and better:
                best = model.get_weights()
            if states and states.due:
                save()
            bar.set_postfix({key: f"{value:.3g}" for key, value in row.items()}, refresh=False)
            bar.update()
    if len(epochs):
        save()
    if best:
        model.set_weights(best)
    model.optimizer = None  # else it would be saved with the weights
    return table(progress.rows, name, progress.kept if best else progress.epoch - 1)


_BAR: dict[str, Any] = {"leave": False, "disable": None}  # on a terminal only


def _epoch(
    take: Steps,
    model: keras.Model,
    data: Data,
    epoch: int,
    schedule: Schedule,
    factor: float,
    weights: np.ndarray | None,
) -> dict[str, float]:
    """Train one epoch; return its mean loss and accuracy, and the learning rate in its middle."""
    steps, done = count(data, schedule.batch_size), 0
    rates = Rates(schedule.learning_rate * factor, schedule.epochs, schedule.kind, schedule.warmup)
    loss = right = 0.0
    fill = not _learns_statistics(model)
    for chunk in chunks(data, schedule.batch_size, epoch, schedule.seed, device_count(), fill):
        smooth = chunk.targets * (1 - schedule.label_smoothing) + schedule.label_smoothing / data.classes
        weight = chunk.shares if weights is None else chunk.shares * (chunk.targets @ weights)
        now = [rates.at(epoch * steps + done + step, steps) for step in range(len(chunk.rows))]
        sums = take(chunk.inputs, smooth, weight, now).astype(np.float64)
        loss, right = loss + float(sums[:, 0] @ chunk.rows), right + float(sums[:, 1].sum())
        done += len(chunk.rows)
    return {
        "loss": loss / len(data),
        "accuracy": right / len(data),
        "learning_rate": rates.at(epoch * steps + steps // 2, steps),
    }


def _learns_statistics(model: keras.Model) -> bool:
    """Whether a BatchNormalization layer trains, so that each row of a batch has a part in what the others become."""
    return any(
        isinstance(layer, keras.layers.BatchNormalization) and layer.trainable for layer in model._flatten_layers()
    )


def measure(predict: Forward, data: Data) -> dict[str, float]:
    """Return the plain loss and accuracy of what ``predict`` gives, logits, on ``data``."""
    loss = right = 0.0
    places = np.arange(len(data))
    size = predict.batch_size
    for inputs, targets in prefetch((data.batch(places[at : at + size], 0) for at in range(0, len(data), size)), 2):
        logits = predict(inputs)
        loss -= float(np.sum(targets * log_softmax(logits.astype(np.float64), axis=1)))
        right += float(np.sum(targets.argmax(axis=1) == logits.argmax(axis=1)))
    return {"loss": loss / len(data), "accuracy": right / len(data)}


def _class_weights(data: Data) -> np.ndarray:
    counts = np.bincount(data.labels, minlength=data.classes)
    return (len(data) / (data.classes * np.maximum(counts, 1))).astype(np.float32)


def _assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
