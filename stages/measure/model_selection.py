"""Choose between models by the validation images: log loss ranks, accuracy is shown with what its difference can tell.

Log loss ranks because it also counts how sure a model was, so it separates models that accuracy cannot tell apart, and
because the checkpoint of each model was chosen by it, too.
"""

from math import ceil

import pandas as pd

from stages.measure.intervals import bound_accuracy, bound_difference

SKEWED = 2  # times the smallest class's images: with a larger class, accuracy mostly measures that class


def measure_predictions(table: pd.DataFrame, confidence: float, model: str = "finetuned") -> dict[str, float]:
    """Return log loss in nats, accuracy with its Wilson interval and, if the classes are skewed, balanced accuracy.

    Balanced accuracy is the mean over the classes of the share of their images that are predicted correctly.

    Args:
        table: predictions, as ``stages.measure.predictions.tabulate`` makes them; at least one.
        confidence: of the interval, such as 0.95.
        model: ``finetuned`` or ``head``.
    """
    right = is_right(table, model)
    low, high = bound_accuracy(int(right.sum()), len(right), confidence)
    measured = {
        "log_loss": float(table[f"{model}_loss"].mean()),
        "accuracy": float(right.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
    }
    if is_skewed(table["class"]):
        measured["balanced_accuracy"] = float(right.groupby(table["class"]).mean().mean())
    return measured


def is_right(table: pd.DataFrame, model: str = "finetuned") -> pd.Series:
    """Return whether each image is predicted correctly.

    Args:
        table: predictions, as ``stages.measure.predictions.tabulate`` makes them.
        model: ``finetuned`` or ``head``.
    """
    return table[f"{model}_predicted"] == table["class"]


def is_skewed(classes: pd.Series) -> bool:
    """Return whether the largest class has more than SKEWED times as many images as the smallest.

    Args:
        classes: the class of each image.
    """
    counts = classes.value_counts()
    return bool(counts.max() > SKEWED * counts.min())


def find_detectable_difference(images: int, confidence: float, differing: int = 0, margin: float = 0.0) -> float | None:
    """Return the smallest difference of two accuracies on the same images whose interval lies above ``margin``.

    >>> find_detectable_difference(50, 0.95)
    0.1
    >>> find_detectable_difference(100, 0.95, differing=30)
    0.11

    Args:
        images: all images.
        confidence: of the interval, that of ``bound_difference``.
        differing: images that one model gets right and the other wrong; 0 for the best case, in which one of the models
            is right about all of them.
        margin: a share of the images: with 0, the interval excludes zero.

    Returns:
        A share of the images; None if they are too few to show any difference.
    """
    for more in range(1, images + 1):
        lost = max(0, ceil((differing - more) / 2))
        won = lost + more
        if lost + won <= images and bound_difference(lost, won, images, confidence)[0] > margin:
            return more / images
    return None


def describe_fitted(images: int) -> str:
    """Return a sentence on a validation log loss that a temperature, fitted on the same images, made lower.

    By one parameter: n images, on other images the loss is higher by about 1/n (Akaike 1974).

    Args:
        images: validation images.
    """
    return (
        f"finetune.calibrate fitted a temperature on the same {images} validation images: on others, expect a log loss "
        f"that is higher by about {1 / images:.1g}"
    )


def describe_choice(compared: int, images: int, confidence: float) -> str:
    """Return a sentence on how far a choice by validation can be trusted.

    The best of many looks better than it is, because chance has helped to choose it (Cawley and Talbot, J. Mach. Learn.
    Res. 11, 2010, 2079-2107).

    Args:
        compared: how many models.
        images: validation images.
        confidence: of the intervals.
    """
    least = find_detectable_difference(images, confidence)
    limit = "" if least is None else f" below {100 * least:.1f} points"
    return (
        f"the best of {compared} by log loss on {images} validation images; being chosen, it looks better than it is. "
        f"{images} images can show no difference in accuracy{limit} (at {confidence:.3g})"
    )
