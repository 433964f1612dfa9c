"""The training history: a row and a printed line per epoch. A fit without epochs is one row, without a learning rate.

A loss that is not a number ends the training.
"""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from stages.base.errors import UserError

_REASONS = {"best": "lowest validation loss", "best_accuracy": "highest validation accuracy", "last": "the last"}
COLUMNS = ["phase", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "kept"]


def check_losses(phase: str, epoch: int, row: Mapping[str, float]) -> None:
    """Check that the losses of an epoch are numbers.

    Args:
        phase: name, for the message.
        epoch: counted from 0.
        row: metrics of the epoch.

    Raises:
        UserError: the loss or the validation loss is NaN or infinite.
    """
    for key, words in (("loss", "loss"), ("val_loss", "validation loss")):
        if not math.isfinite(row.get(key, 0.0)):
            raise UserError(
                f"{phase}: expected a finite {words}, received {row[key]} in epoch {epoch + 1}: the training diverged. "
                f"Set a lower learning_rate for this phase, a schedule.warmup or an optimizer.clip_norm. If that does "
                f"not help, `python -m stages check --data` finds damaged files."
            )


def make_table(rows: Sequence[dict[str, float]], phase: str, best_epoch: int) -> pd.DataFrame:
    """Return the history of a phase, with epochs numbered from 1.

    Args:
        rows: metrics of each epoch.
        phase: name.
        best_epoch: the epoch whose weights are used, counted from 0; ``kept`` is 1 in its row.
    """
    history = pd.DataFrame(rows)
    history["phase"], history["epoch"] = phase, range(1, len(history) + 1)
    history["kept"] = [int(row == best_epoch) for row in range(len(history))]
    return history.reindex(columns=COLUMNS)


def join(histories: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the histories of all phases as one table, with consecutive epoch numbers."""
    filled = [history for history in histories if len(history)]
    joined = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=COLUMNS)
    joined["epoch"] = range(1, len(joined) + 1)
    return joined


def describe_epoch(phase: str, epoch: int, epochs: int, row: Mapping[str, float]) -> str:
    """Return a line on an epoch.

    Args:
        phase: name.
        epoch: counted from 0.
        epochs: of the phase.
        row: metrics of the epoch.
    """
    validation = ""
    if "val_loss" in row:
        validation = f"validation loss {row['val_loss']:.4f}, validation accuracy {row['val_accuracy']:.1%}, "
    return (
        f"{phase}, epoch {epoch + 1:>{len(str(epochs))}}/{epochs}: loss {row['loss']:.4f}, accuracy "
        f"{row['accuracy']:.1%}, {validation}learning rate {row['learning_rate']:.3g}"
    )


def describe(history: pd.DataFrame, checkpoint: str) -> str:
    """Return a line on the weights that a phase uses, and their accuracy.

    Args:
        history: of the phase.
        checkpoint: how its epoch was chosen: ``best``, ``best_accuracy`` or ``last``.
    """
    if history.empty:
        return "no epochs"
    best = history[history["kept"] == 1].iloc[0]
    validation = "" if pd.isna(best["val_loss"]) else f", validation accuracy {best['val_accuracy']:.1%}"
    how = f"weights of epoch {best['epoch']} of {len(history)} ({_REASONS[checkpoint]})"
    if pd.isna(best["learning_rate"]):
        how = "fitted"
    return f"{best['phase']}: {how}, training accuracy {best['accuracy']:.1%}{validation}"


def describe_training_accuracy(dropout: bool, augmented: bool) -> str:
    """Return a sentence on why training accuracy can be lower than validation accuracy; "" if there is no reason.

    Args:
        dropout: whether layers drop units in training.
        augmented: whether training images are augmented.
    """
    reasons = ["with dropout"] * dropout + ["on augmented views"] * augmented
    if not reasons:
        return ""
    return f"training accuracy is measured {' and '.join(reasons)}: it can be lower than validation accuracy"
