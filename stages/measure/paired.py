"""Compare models on the same images: which is better, how certain that is, and which predictions flipped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb, sqrt
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from stages.base.errors import UserError
from stages.measure.intervals import measure_difference
from stages.measure.metrics import measure_calibration
from stages.measure.model_selection import is_right, measure_predictions

MODEL = "finetuned"  # of the two that finetune writes, the one that is used
_COLUMNS = ["source", "sha256", "label", "class"]
_MEASURES = ["predicted", "confidence", "loss", "probabilities"]


@dataclass(frozen=True)
class Difference:
    """A second model minus a first, on the same images.

    Attributes:
        lost: images that only the first model gets right.
        won: images that only the second model gets right.
        accuracy: difference in accuracy, a share, with its interval.
        loss: difference in log loss, with its interval; negative where the second model is better.
        p: of McNemar's exact test.
    """

    lost: int
    won: int
    accuracy: tuple[float, float, float]
    loss: tuple[float, float, float]
    p: float


@dataclass(frozen=True)
class Results:
    """Several models on the images that all of them predicted.

    Attributes:
        split: validation or test.
        names: of the models, in the order given.
        tables: their predictions of the shared images, in the same order.
        left_out: how many images only some of the models predicted, or with another class; for each model.
        scores: of each model, as ``measure_model`` returns them.
        differences: of each model but the first from the first.
        confidence: of the interval around each accuracy.
        level: confidence of the interval of each difference, of which all hold together with ``confidence``.
        ranking: places of the models, the best first.
    """

    split: str
    names: list[str]
    tables: list[pd.DataFrame]
    left_out: list[int]
    scores: list[dict[str, float]]
    differences: list[Difference]
    confidence: float
    level: float
    ranking: list[int]

    @property
    def images(self) -> int:
        """How many images are compared."""
        return len(self.tables[0])

    @property
    def rival(self) -> int:
        """The place of the best model but the first, with which the first is compared image by image."""
        return next(place for place in self.ranking if place)

    @cached_property
    def flips(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The images that only the first model gets right, and those that only its rival does: ``select_flips``."""
        return select_flips(self.tables[0], self.tables[self.rival])


def read_predictions(path: Path) -> pd.DataFrame:
    """Return the predictions of the fine-tuned model, indexed by the hash of each image's file.

    Args:
        path: Parquet file, as ``stages.measure.predictions.tabulate`` makes it.

    Returns:
        The columns of the file that describe the image and this model, and ``right``.
    """
    columns = [*_COLUMNS, *(f"{MODEL}_{name}" for name in _MEASURES)]
    table: pd.DataFrame = pq.read_table(path, columns=columns).to_pandas()
    return table.set_index("sha256").assign(right=is_right(table, MODEL).to_numpy())


def align(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return the rows of the images that all tables hold with the same class, in the same order.

    An image is its file: it may have moved or been renamed.

    Args:
        tables: as ``read_predictions`` returns them.
    """
    shared = tables[0]
    for table in tables[1:]:
        there = shared.index.intersection(table.index)
        same = shared.loc[there, "class"] == table.loc[there, "class"]
        shared = shared.loc[there[same.to_numpy()]]
    return [table.loc[shared.index] for table in tables]


def compare_models(
    split: str,
    predictions: Mapping[str, pd.DataFrame],
    confidence: float,
    bins: int,
    ranking: list[int] | None = None,
) -> Results:
    """Return how models compare on the images that all of them predicted.

    With several differences, each interval has the confidence 1 - (1 - ``confidence``) / differences, so that all of
    them hold together with ``confidence`` (Bonferroni): the best of many would else seem to be certain too often.

    Args:
        split: validation or test.
        predictions: by name, two or more, as ``read_predictions`` returns them.
        confidence: such as 0.95.
        bins: of the calibration error.
        ranking: of the models by other images; None: rank them by log loss on these.

    Raises:
        UserError: no image is in all of them.
    """
    tables = align(list(predictions.values()))
    if tables[0].empty:
        counts = ", ".join(f"{len(table)} in {name}" for name, table in predictions.items())
        raise UserError(f"expected {split} images that all revisions have; received {counts}, and none is in all.")
    level = 1 - (1 - confidence) / (len(tables) - 1)
    scores = [measure_model(table, confidence, bins) for table in tables]
    return Results(
        split,
        list(predictions),
        tables,
        [len(whole) - len(tables[0]) for whole in predictions.values()],
        scores,
        [compare_pair(tables[0], table, level) for table in tables[1:]],
        confidence,
        level,
        ranking or sorted(range(len(tables)), key=lambda place: scores[place]["log_loss"]),
    )


def measure_model(table: pd.DataFrame, confidence: float, bins: int) -> dict[str, float]:
    """Return the scores of ``stages.measure.model_selection.measure_predictions``, and the calibration error.

    Args:
        table: as ``read_predictions`` returns it.
        confidence: of the interval around the accuracy.
        bins: of the calibration error.
    """
    labels, probabilities = table["label"].to_numpy(), np.stack(list(table[f"{MODEL}_probabilities"]))
    error = measure_calibration(labels, probabilities, bins)
    return {**measure_predictions(table, confidence, MODEL), "calibration_error": error}


def compare_pair(old: pd.DataFrame, new: pd.DataFrame, confidence: float) -> Difference:
    """Return how the second model differs from the first.

    Args:
        old: predictions of the first model.
        new: those of the second for the same images, in the same order.
        confidence: of the intervals.
    """
    before, after = old["right"].to_numpy(), new["right"].to_numpy()
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    losses = (new[f"{MODEL}_loss"] - old[f"{MODEL}_loss"]).to_numpy(dtype=np.float64)
    accuracy, loss = measure_difference(before, after, confidence), bound_mean(losses, confidence)
    return Difference(lost, won, accuracy, loss, compute_p_value(lost, won))


def bound_mean(differences: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """Return the mean of paired differences and its normal interval, mean ± z s / √n.

    Args:
        differences: float (images,), one per image.
        confidence: of the interval.
    """
    mean = float(differences.mean())
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else np.inf
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * spread / sqrt(len(differences))
    return mean, mean - reach, mean + reach


def compute_p_value(lost: int, won: int) -> float:
    """Return the p value of McNemar's exact test (McNemar, Psychometrika 12, 1947, 153-157).

    If the models were equally accurate, each would be right on half of the images on which they disagree: the
    probability, by the binomial distribution, of a split at least as uneven as this.

    Args:
        lost: images that only the first model gets right.
        won: images that only the second model gets right.
    """
    split = lost + won
    tail = sum(comb(split, count) for count in range(min(lost, won) + 1))
    return min(1.0, float(2 * tail / 2**split))


def select_flips(old: pd.DataFrame, new: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the images that only the first model gets right, and those that only the second does.

    Args:
        old: predictions of the first model.
        new: those of the second for the same images, in the same order.

    Returns:
        By hash, the most confident mistakes first: source, class, what the wrong model predicted (wrong), and how
        confident either was (wrong_confidence, right_confidence).
    """
    flips = []
    for good, bad in ((old, new), (new, old)):
        chosen = good["right"] & ~bad["right"]
        flips.append(
            pd.DataFrame(
                {
                    "source": new.loc[chosen, "source"],
                    "class": new.loc[chosen, "class"],
                    "wrong": bad.loc[chosen, f"{MODEL}_predicted"],
                    "wrong_confidence": bad.loc[chosen, f"{MODEL}_confidence"],
                    "right_confidence": good.loc[chosen, f"{MODEL}_confidence"],
                }
            ).sort_values("wrong_confidence", ascending=False, kind="stable")
        )
    return flips[0], flips[1]
