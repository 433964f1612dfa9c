"""The training history: one row per epoch. A loss that is not a number ends the training."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from stages.base.errors import UserError

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
                f"{phase}: expected a {words} that is a number, received {row[key]} in epoch {epoch + 1}. "
                f"Lower its learning_rate, or bound its steps with a warmup or clip_norm. Or a file is damaged: "
                f"`python -m stages check --data` tells."
            )


def make_table(rows: Sequence[dict[str, float]], phase: str, best_epoch: int) -> pd.DataFrame:
    """Return the history of a phase, with epochs numbered from 1.

    Args:
        rows: metrics of each epoch.
        phase: name.
        best_epoch: whose weights the phase ends with, counted from 0; ``kept`` is 1 in its row.
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


def describe(history: pd.DataFrame) -> str:
    """Return a line on how a phase went."""
    if history.empty:
        return "no epochs"
    best = history[history["kept"] == 1].iloc[0]
    validation = "" if pd.isna(best["val_loss"]) else f", validation accuracy {best['val_accuracy']:.1%}"
    return (
        f"{best['phase']}: weights of epoch {best['epoch']} of {len(history)}, training accuracy "
        f"{best['accuracy']:.1%}{validation}"
    )
