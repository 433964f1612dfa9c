"""Verdicts on learning curves: over-fitting, a learning rate that is too high, training that ended too early.

Each is a rule with fixed limits, and each sentence holds the numbers that it rests on.
"""

from collections.abc import Mapping

import pandas as pd

_RISE = 0.1  # of the training loss from one epoch to the next, as a share of it: more is no noise
_SMALL = 0.05  # nats: a training loss below it may rise by any share
_WORSE = 0.05  # of the validation loss above its lowest value, as a share of it
_BETTER = 0.02  # by which the validation loss must still fall to call that learning
_JUMP = 0.25  # of the validation loss in the first thawed epoch, above that of the head-only model


def judge(history: pd.DataFrame) -> list[str]:
    """Return verdicts on the curves of both phases, most serious first within a phase.

    Args:
        history: as ``stages.training.history.join`` makes it: phase, epoch (counted through both phases), loss,
            val_loss (may be missing), learning_rate (missing for a head that was fitted) and kept.
    """
    phases = {str(phase): rows.reset_index(drop=True) for phase, rows in history.groupby("phase", sort=False)}
    said = []
    for phase, rows in phases.items():
        head = phases["head"] if phase == "thawed" and "head" in phases else None
        said += [f"{_NAMES[phase]}: {sentence}" for sentence in _judge_phase(phase, rows, head)]
    return said


def judge_thawing(history: pd.DataFrame, gain: Mapping[str, float]) -> str:
    """Return a sentence on whether thawing was worth it.

    Args:
        history: as for ``judge``, of two phases.
        gain: in accuracy on the test images, over the head-only model: accuracy, accuracy_low and accuracy_high.
    """
    kept = history[history["kept"] == 1].groupby("phase")["val_loss"].first()
    said = ""
    if kept.notna().all() and len(kept) == 2:
        said = f"validation loss went from {_show(kept['head'])} (head only) to {_show(kept['thawed'])}, and "
    low, high = 100 * gain["accuracy_low"], 100 * gain["accuracy_high"]
    interval = f"{low:+.1f} to {high:+.1f}".replace("-", "\N{MINUS SIGN}")
    said += f"the interval of the gain on the test images is {interval} points"
    if low > 0:
        return f"Thawing helped: {said}."
    if high < 0:
        return f"Thawing hurt: {said}. Freeze more, or lower finetune.thawed.learning_rate."
    return f"Thawing adds nothing measurable: {said}, which includes zero. extract.freeze: all trains faster."


_NAMES = {"head": "Head only", "thawed": "Head and thawed layers"}


def _judge_phase(phase: str, rows: pd.DataFrame, head: pd.DataFrame | None) -> list[str]:
    if rows["learning_rate"].isna().all():
        return []  # fitted to convergence, without epochs
    found = [*_find_high_rate(phase, rows), *_find_jump(rows, head)]
    if rows["val_loss"].isna().any():
        found.append(
            f"training loss went from {_show(rows['loss'].iloc[0])} to {_show(rows['loss'].iloc[-1])}. Without "
            f"validation images, nothing shows whether it over-fits."
        )
    elif len(rows) > 1:
        found.append(_judge_validation(phase, rows))
    return found


def _find_high_rate(phase: str, rows: pd.DataFrame) -> list[str]:
    loss, key = rows["loss"], f"finetune.{phase}.learning_rate"
    rises = loss.diff()[(loss > (1 + _RISE) * loss.shift()) & (loss > _SMALL)]
    if len(rises) >= max(2, len(rows) / 4):
        most = int(loss.diff().where(loss.index.isin(rises.index)).argmax())
        return [
            f"the learning rate is probably too high: training loss rose by more than {100 * _RISE:.0f} % in "
            f"{len(rises)} of {len(rows) - 1} steps from epoch to epoch, at most from {_show(loss[most - 1])} to "
            f"{_show(loss[most])}. Lower {key}, or bound the steps with finetune.optimizer.clip_norm."
        ]
    if len(rows) > 1 and loss.iloc[-1] > max(loss.iloc[0], _SMALL):
        return [
            f"the learning rate is probably too high: training loss ended at {_show(loss.iloc[-1])}, above the "
            f"{_show(loss.iloc[0])} of the first epoch. Lower {key}."
        ]
    return []


def _find_jump(rows: pd.DataFrame, head: pd.DataFrame | None) -> list[str]:
    """Return a sentence if the first thawed epoch made the model worse than the head-only model it started from."""
    kept = None if head is None else head.loc[head["kept"] == 1, "val_loss"]
    if kept is None or kept.isna().any() or kept.empty or pd.isna(rows["val_loss"].iloc[0]):
        return []
    before, after = kept.iloc[0], rows["val_loss"].iloc[0]
    if after <= max((1 + _JUMP) * before, before + _SMALL):
        return []
    return [
        f"the first epoch raised the validation loss from {_show(before)} to {_show(after)}: its steps destroy what "
        f"the backbone had learned. Lower finetune.thawed.learning_rate, or let it rise with finetune.schedule.warmup."
    ]


def _judge_validation(phase: str, rows: pd.DataFrame) -> str:
    val, loss, epochs = rows["val_loss"], rows["loss"], rows["epoch"]
    best, last = int(val.argmin()), len(rows) - 1
    lowest, end = val[best], val[best + 1 :].tail(3).mean()
    if last - best >= 2 and end > max((1 + _WORSE) * lowest, lowest + _SMALL / 10):
        if loss[last] < loss[best]:
            return (
                f"over-fitting from epoch {epochs[best] + 1}: validation loss rose from {_show(lowest)} to "
                f"{_show(end)} (mean of the last epochs), while training loss fell from {_show(loss[best])} to "
                f"{_show(loss[last])}. More images, stronger augmentation or more frozen layers help; more epochs do "
                f"not."
            )
        return (
            f"validation loss rose from {_show(lowest)} in epoch {epochs[best]} to {_show(end)} (mean of the last "
            f"epochs), and training loss did not fall. Lower finetune.{phase}.learning_rate."
        )
    earlier = val[max(0, last - max(1, len(rows) // 4))]
    if best == last and lowest < (1 - _BETTER) * earlier:
        return (
            f"still learning at the end: validation loss is lowest in the last epoch, {epochs[last]}, and fell from "
            f"{_show(earlier)} to {_show(lowest)} in the last quarter. Raise finetune.{phase}.epochs, or the learning "
            f"rate."
        )
    return (
        f"converged: validation loss is lowest in epoch {epochs[best]} ({_show(lowest)}), and ended at "
        f"{_show(val[last])}."
    )


def _show(loss: float) -> str:
    return f"{loss:.3g}"
