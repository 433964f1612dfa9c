"""Measure predictions: over all images, by class, and by pair of classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from stages.measure.intervals import bound_accuracy, measure_difference
from stages.measure.predictions import compute_losses, softmax

DECIMALS = 5  # written: the last bits differ between machines, which must not show up in git


def measure(
    labels: np.ndarray, probabilities: Mapping[str, np.ndarray], *, compare: bool, confidence: float, bins: int
) -> dict[str, dict[str, float]]:
    """Return all measures of the models, rounded to DECIMALS.

    Args:
        labels: int (n,), the actual classes; n is at least 1.
        probabilities: float64 (n, classes) of ``finetuned``, and of ``head`` if there is a trained head-only model.
        compare: whether they are two different trained models. Otherwise there is no gain to report: over itself it is
            zero, and over a head with random weights it means nothing.
        confidence: of the intervals, such as 0.95.
        bins: of the calibration error.

    Returns:
        The scores of each model; with ``compare`` also ``gain``: how much more accurate ``finetuned`` is than
        ``head``, with its paired interval.
    """
    measured = {name: compute_scores(labels, rows, confidence, bins) for name, rows in probabilities.items()}
    if compare:
        before, after = (probabilities[name].argmax(axis=1) == labels for name in ("head", "finetuned"))
        gain, low, high = measure_difference(before, after, confidence)
        measured["gain"] = {"accuracy": gain, "accuracy_low": low, "accuracy_high": high}
    return {name: {key: round(value, DECIMALS) for key, value in row.items()} for name, row in measured.items()}


def select_key_metrics(
    summary: Mapping[str, Any], val: pd.DataFrame | None, test: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Return the few numbers to compare between commits, of the fine-tuned model unless their name says otherwise.

    If only the head was trained, ``head_accuracy`` is the accuracy, so that ``dvc metrics diff`` compares heads with
    heads. It is missing if the head was never trained.

    Args:
        summary: content of data/split/summary.json.
        val: validation predictions, as ``stages.measure.predictions.tabulate`` makes them, if there are any.
        test: what ``measure`` returns for the test images.
    """
    left_out = summary["rejects"] + summary["duplicates"]
    numbers: dict[str, dict[str, float]] = {"images": {**summary["images"], "left_out": left_out}}
    if val is not None:
        names = {"head": "head_accuracy", "finetuned": "accuracy"}
        accuracy = {
            key: (val[f"{name}_predicted"] == val["class"]).mean() for name, key in names.items() if name in test
        }
        loss = val["finetuned_loss"].mean()
        numbers["val"] = {key: round(float(value), DECIMALS) for key, value in {**accuracy, "log_loss": loss}.items()}
    tuned = test["finetuned"]
    numbers["test"] = {
        **({"head_accuracy": test["head"]["accuracy"]} if "head" in test else {}),
        "accuracy": tuned["accuracy"],
        "low": tuned["accuracy_low"],
        "high": tuned["accuracy_high"],
        "log_loss": tuned["log_loss"],
    }
    return numbers


def compute_scores(labels: np.ndarray, probabilities: np.ndarray, confidence: float, bins: int) -> dict[str, float]:
    """Return the measures of one model.

    These are accuracy with its Wilson interval, macro F1 over the classes that have test images, log loss in nats, and
    expected calibration error.

    Args:
        labels: int (n,), the actual classes.
        probabilities: float64 (n, classes).
        confidence: of the interval.
        bins: of the calibration error.
    """
    predicted = probabilities.argmax(axis=1)
    right = int((predicted == labels).sum())
    low, high = bound_accuracy(right, len(labels), confidence)
    f1 = _by_class(_counts(labels, probabilities))["f1"]
    return {
        "accuracy": right / len(labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "macro_f1": float(f1[np.unique(labels)].mean()),
        "log_loss": float(compute_losses(labels, probabilities).mean()),
        "calibration_error": measure_calibration(labels, probabilities, bins),
    }


def measure_calibration(labels: np.ndarray, probabilities: np.ndarray, bins: int) -> float:
    """Return the expected calibration error (Guo et al., ICML 2017, equation 3).

    Images fall into equal-width bins by confidence in the predicted class, ((m - 1) / bins, m / bins]. The error is the
    mean distance between a bin's accuracy and its mean confidence, weighted by its images.

    Args:
        labels: int (n,), the actual classes.
        probabilities: float64 (n, classes).
        bins: how many.
    """
    confidences, right, places = _bin(labels, probabilities, bins)
    # A bin's |accuracy - confidence| times its share of the images is |sum of (right - confidence)| / images.
    gaps = np.bincount(places, weights=right - confidences, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def measure_calibrated(labels: np.ndarray, logits: np.ndarray, temperature: float, bins: int) -> dict[str, float]:
    """Return a model's temperature, and what it changes, as it was without it: log loss and calibration error.

    Args:
        labels: int (n,), the actual classes.
        logits: (n, classes), divided by the temperature.
        temperature: see ``stages.measure.temperature``.
        bins: of the calibration error.
    """
    before = uncalibrate(logits, temperature)
    return {
        "temperature": temperature,
        "uncalibrated_log_loss": round(float(compute_losses(labels, before).mean()), DECIMALS),
        "uncalibrated_calibration_error": round(measure_calibration(labels, before, bins), DECIMALS),
    }


def uncalibrate(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities without a temperature, float64 (n, classes).

    Args:
        logits: (n, classes), divided by it.
        temperature: the divisor.
    """
    return softmax(logits.astype(np.float64) * temperature)


def measure_reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int, confidence: float) -> pd.DataFrame:
    """Return for each bin of ``measure_calibration`` that has images: how confident the model was, and how often right.

    Args:
        labels: int (n,), the actual classes.
        probabilities: float64 (n, classes).
        bins: how many.
        confidence: of the Wilson intervals of the accuracies.
    """
    confidences, right, places = _bin(labels, probabilities, bins)
    rows = []
    for place in np.unique(places):
        inside = places == place
        low, high = bound_accuracy(int(right[inside].sum()), int(inside.sum()), confidence)
        row = {"images": inside.sum(), "confidence": confidences[inside].mean(), "accuracy": right[inside].mean()}
        rows.append({**row, "accuracy_low": low, "accuracy_high": high})
    return pd.DataFrame(rows).round(DECIMALS)


def _bin(labels: np.ndarray, probabilities: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each image's confidence, whether it is predicted correctly, and its bin."""
    confidences = probabilities.max(axis=1)
    places = np.clip(np.ceil(confidences * bins).astype(int) - 1, 0, bins - 1)
    return confidences, probabilities.argmax(axis=1) == labels, places


def measure_classes(labels: np.ndarray, probabilities: dict[str, np.ndarray], classes: Sequence[str]) -> pd.DataFrame:
    """Return precision, recall and F1 of each model by class, and the number of test images.

    Args:
        labels: int (n,), the actual classes.
        probabilities: by model name, (n, classes).
        classes: the names.

    Undefined values, such as the precision of a class that is never predicted, are 0.
    """
    table = pd.DataFrame({"class": list(classes), "images": np.bincount(labels, minlength=len(classes))})
    for model, rows in probabilities.items():
        for name, column in _by_class(_counts(labels, rows)).items():
            table[f"{model}_{name}"] = column
    return table.round(DECIMALS)


def _counts(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the confusion matrix, int (classes, classes): rows are actual classes, columns predicted ones."""
    classes = probabilities.shape[1]
    places = labels * classes + probabilities.argmax(axis=1)
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)


def _by_class(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return precision, recall and F1 of each class; undefined values are 0."""
    right, actual, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    parts = {"precision": (right, predicted), "recall": (right, actual), "f1": (2 * right, actual + predicted)}
    return {name: part / np.maximum(whole, 1) for name, (part, whole) in parts.items()}


def count_confusions(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Return the confusion matrix in images: rows are actual classes, columns predicted ones.

    Args:
        labels: int (n,), the actual classes.
        probabilities: (n, classes).
        classes: the names.
    """
    return pd.DataFrame(_counts(labels, probabilities), index=pd.Index(classes, name="actual"), columns=list(classes))


def choose_examples(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return up to ``count`` test images of each kind, in the order to show them.

    Args:
        predictions: one row per image: class, predicted, confidence, sha256 (of its file).
        count: how many of each kind.

    Returns:
        The chosen rows with their kind. "wrong": mistakes, the most confident first; if there are none, "unsure": the
        least confident predictions first; "right": correct predictions; "sample": any images. The last two are ordered
        by hash, which is as good as random. A row may have several kinds.
    """
    drawn = predictions.sort_values("sha256", kind="stable")
    right = drawn["predicted"] == drawn["class"]
    mistakes = drawn[~right].sort_values("confidence", ascending=False, kind="stable")
    unsure = drawn[:0] if len(mistakes) else drawn.sort_values("confidence", kind="stable")
    kinds = {"wrong": mistakes, "unsure": unsure, "right": drawn[right], "sample": drawn}
    return pd.concat([rows.head(count).assign(kind=kind) for kind, rows in kinds.items()])
