"""The history of a training: one row an epoch, and what must not be in it."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from stages.base.errors import UserError

COLUMNS = ["phase", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "kept"]


def check_losses(phase: str, epoch: int, row: Mapping[str, float]) -> None:
    """Raise UserError where a loss of an epoch, counted from 0, is no longer a number."""
    for key, words in (("loss", "loss"), ("val_loss", "validation loss")):
        if not math.isfinite(row.get(key, 0.0)):
            raise UserError(
                f"{phase}: expected a {words} that is a number, received {row[key]} in epoch {epoch + 1}. "
                f"Lower its learning_rate, or bound its steps with a warmup or clip_norm. Or a file is damaged: "
                f"`python -m stages check --data` tells."
            )


def table(rows: Sequence[dict[str, float]], phase: str, kept: int) -> pd.DataFrame:
    """Return the epochs of a phase, numbered from 1; ``kept`` counts from 0 and says whose weights were kept."""
    history = pd.DataFrame(rows)
    history["phase"], history["epoch"] = phase, range(1, len(history) + 1)
    history["kept"] = [int(row == kept) for row in range(len(history))]
    return history.reindex(columns=COLUMNS)


def join(histories: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the phases' histories as one table, with the epochs counted through."""
    filled = [history for history in histories if len(history)]
    joined = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=COLUMNS)
    joined["epoch"] = range(1, len(joined) + 1)
    return joined


def in_words(history: pd.DataFrame) -> str:
    """Return how a phase went, in one line."""
    if history.empty:
        return "no epochs"
    kept = history[history["kept"] == 1].iloc[0]
    last = "" if pd.isna(kept["val_loss"]) else f", validation accuracy {kept['val_accuracy']:.1%}"
    return (
        f"{kept['phase']}: kept epoch {kept['epoch']} of {len(history)}, training accuracy {kept['accuracy']:.1%}{last}"
    )
