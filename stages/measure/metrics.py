"""How good predictions are: one set of numbers over all images, one row a class, one cell a pair of classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from stages.measure.intervals import paired_difference, wilson
from stages.measure.predictions import losses

DECIMALS = 5  # of what is written: the last bits differ from machine to machine, and that should not change git


def measure(
    labels: np.ndarray, head: np.ndarray, finetuned: np.ndarray, confidence: float, bins: int
) -> dict[str, dict[str, float]]:
    """Return all that is measured of the two models, each number rounded to DECIMALS.

    Args:
        labels: int (n,), the actual classes; n is at least 1.
        head: float64 (n, classes), the probabilities of the model of which only the head was trained.
        finetuned: those of the fine-tuned model.
        confidence: of the intervals, such as 0.95.
        bins: of the calibration error.

    Returns:
        ``head`` and ``finetuned``: the scores of each; ``gain``: how much more accurate the second is than the first,
        with its paired interval.
    """
    before, after = head.argmax(axis=1) == labels, finetuned.argmax(axis=1) == labels
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    low, high = paired_difference(lost, won, len(labels), confidence)
    measured = {
        "head": compute_scores(labels, head, confidence, bins),
        "finetuned": compute_scores(labels, finetuned, confidence, bins),
        "gain": {"accuracy": (won - lost) / len(labels), "accuracy_low": low, "accuracy_high": high},
    }
    return {name: {key: round(value, DECIMALS) for key, value in row.items()} for name, row in measured.items()}


def select_key_metrics(
    summary: Mapping[str, Any], val: pd.DataFrame | None, test: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Return the few numbers that are compared between commits: of the fine-tuned model, unless another is named.

    Args:
        summary: what ``split`` says of the images.
        val: what ``stages.measure.predictions.tabulate`` says of the validation images; None where there are none.
        test: what ``measure`` says of the test images.
    """
    left_out = summary["rejects"] + summary["duplicates"]
    numbers: dict[str, dict[str, float]] = {"images": {**summary["images"], "left_out": left_out}}
    if val is not None:
        accuracy = {name: (val[f"{name}_predicted"] == val["class"]).mean() for name in ("head", "finetuned")}
        numbers["val"] = {
            "head_accuracy": round(float(accuracy["head"]), DECIMALS),
            "accuracy": round(float(accuracy["finetuned"]), DECIMALS),
            "log_loss": round(float(val["finetuned_loss"].mean()), DECIMALS),
        }
    tuned = test["finetuned"]
    numbers["test"] = {
        "head_accuracy": test["head"]["accuracy"],
        "accuracy": tuned["accuracy"],
        "low": tuned["accuracy_low"],
        "high": tuned["accuracy_high"],
        "log_loss": tuned["log_loss"],
    }
    return numbers


def compute_scores(labels: np.ndarray, probabilities: np.ndarray, confidence: float, bins: int) -> dict[str, float]:
    """Return what one model is measured by; the arguments are those of ``measure``.

    These are: accuracy with the ends of its Wilson interval; macro F1, the mean over the classes that have a test image
    (the same classes whatever the model predicts); log loss in nats; expected calibration error.
    """
    predicted = probabilities.argmax(axis=1)
    right = int((predicted == labels).sum())
    low, high = wilson(right, len(labels), confidence)
    f1 = _by_class(_counts(labels, probabilities))["f1"]
    return {
        "accuracy": right / len(labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "macro_f1": float(f1[np.unique(labels)].mean()),
        "log_loss": float(losses(labels, probabilities).mean()),
        "calibration_error": calibration_error(labels, probabilities, bins),
    }


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int) -> float:
    """Return the expected calibration error (Guo et al., ICML 2017, equation 3).

    Images are put into equal-width bins of the confidence in the predicted class, ((m - 1) / bins, m / bins]; the error
    is the mean distance between a bin's accuracy and its mean confidence, weighted by its images.
    """
    confidences = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    places = np.clip(np.ceil(confidences * bins).astype(int) - 1, 0, bins - 1)
    # A bin's |accuracy - confidence| times its share of the images is |sum of (right - confidence)| / images.
    gaps = np.bincount(places, weights=right - confidences, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def measure_classes(labels: np.ndarray, probabilities: dict[str, np.ndarray], classes: Sequence[str]) -> pd.DataFrame:
    """Return one row a class: its test images, and precision, recall and F1 of each model.

    Args:
        labels: int (n,), the actual classes.
        probabilities: by model name, (n, classes).
        classes: the names.

    What is not defined (the precision of a class never predicted, the recall of one without images) is 0.
    """
    table = pd.DataFrame({"class": list(classes), "images": np.bincount(labels, minlength=len(classes))})
    for model, rows in probabilities.items():
        for name, column in _by_class(_counts(labels, rows)).items():
            table[f"{model}_{name}"] = column
    return table.round(DECIMALS)


def _counts(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return how many images of each class (rows) were taken for which (columns), int (classes, classes)."""
    classes = probabilities.shape[1]
    places = labels * classes + probabilities.argmax(axis=1)
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)


def _by_class(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return precision, recall and their harmonic mean F1 of each class; 0 where one is not defined."""
    right, actual, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    parts = {"precision": (right, predicted), "recall": (right, actual), "f1": (2 * right, actual + predicted)}
    return {name: part / np.maximum(whole, 1) for name, (part, whole) in parts.items()}


def count_confusions(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Return counts of images, int (classes, classes): rows are the actual class, columns the predicted one."""
    return pd.DataFrame(_counts(labels, probabilities), index=pd.Index(classes, name="actual"), columns=list(classes))


def choose_examples(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return up to ``count`` test images of each kind, in the order in which to show them.

    Args:
        predictions: one row an image: class, predicted, confidence, sha256 (of its file).
        count: how many of each kind.

    Returns:
        The chosen rows with their kind. "wrong": mistakes, the most confident first. "right": what was predicted right,
        and "sample": any image, both in the order of their hashes, which is as good as drawn by lot. A row may be of
        two kinds.
    """
    drawn = predictions.sort_values("sha256", kind="stable")
    right = drawn["predicted"] == drawn["class"]
    mistakes = drawn[~right].sort_values("confidence", ascending=False, kind="stable")
    kinds = {"wrong": mistakes, "right": drawn[right], "sample": drawn}
    return pd.concat([rows.head(count).assign(kind=kind) for kind, rows in kinds.items()])
