"""The report's headline: two accuracies, and whether their difference is significant."""

from collections.abc import Mapping
from math import ceil, floor
from typing import Any

from stages.draw.numbers import format_percent, format_points, name_interval
from stages.draw.page import Html, note, render_interval, section, table

Scores = Mapping[str, float]

_MEASURES = (
    ("macro_f1", "Macro F1", "the harmonic mean of precision and recall, averaged over the classes; higher is better"),
    (
        "log_loss",
        "Log loss",
        "minus the logarithm of the probability given to the actual class, on average; lower is better",
    ),
    ("calibration_error", "Calibration error", "the mean gap between confidence and accuracy; lower is better"),
)
_CALIBRATED = (
    ("temperature", "Temperature", "the divisor of the logits, fitted on the validation images"),
    ("uncalibrated_log_loss", "Log loss before", "of the model without the temperature"),
    ("uncalibrated_calibration_error", "Calibration error before", "of the model without the temperature"),
)


def summarize_gain(gain: Scores | None, images: int, confidence: float, thawed: bool) -> str:
    """Return a sentence or two on what fine-tuning did to the accuracy.

    Args:
        gain: difference in accuracy, fine-tuned minus head-only, with accuracy_low and accuracy_high; None if these
            are not two trained models.
        images: test images.
        confidence: of the interval.
        thawed: whether anything was trained after the head.
    """
    if not thawed:
        return "Only the head was trained; the whole backbone stayed frozen."
    if gain is None:
        return (
            "Head and thawed layers were trained together from the start: there is no head-only model to compare with."
        )
    difference, low, high = (gain[key] for key in ("accuracy", "accuracy_low", "accuracy_high"))
    # A bound that rounds to zero would seem to contradict the sentence about the interval.
    decimals = 2 if min(abs(low), abs(high)) < 0.0005 else 1
    interval = f"{name_interval(confidence)}: {format_points(low, decimals)} to {format_points(high, decimals)}"
    if difference:
        change = f"{'gained' if difference > 0 else 'cost'} {100 * abs(difference):.1f} points of accuracy"
    else:
        change = "did not change the accuracy"
    if low > 0 or high < 0:
        meaning = "excludes zero: chance in the choice of test images is an unlikely explanation."
    else:
        meaning = f"includes zero: {images} test images do not show which model is better."
    return f"Fine-tuning {change} ({interval}). The interval {meaning}"


def render_headline(metrics: Mapping[str, Any], images: int, confidence: float, bins: int, thawed: bool) -> Html:
    """Return the scores of both models as cards and as a table.

    Args:
        metrics: content of scores.json.
        images: test images.
        confidence: of the intervals.
        bins: of the calibration error.
        thawed: whether anything was trained after the head; if not, both models are the same.
    """
    models = _name_models(metrics, thawed)
    lowest = min(0.9, floor(10 * min(row["accuracy_low"] for row in models.values())) / 10)
    kinds = {"Head only": "head", "Fine-tuned": "tuned"}
    cards = [_card(name, kinds[name], row, (lowest, 1), confidence) for name, row in models.items()]
    methods = "Wilson"
    if gain := metrics.get("gain"):
        widest = max(1, ceil(20 * max(abs(gain["accuracy_low"]), abs(gain["accuracy_high"])))) / 20
        cards.append(_card("Gain", "gain", gain, (-widest, widest), confidence))
        methods = "Wilson's for each accuracy, Agresti and Min's for the gain, which compares the models image by image"
    rows = [
        (Html(f"{name}<small>{meaning}</small>"), *(f"{row[key]:.3f}" for row in models.values()))
        for key, name, meaning in _MEASURES + _CALIBRATED * all("temperature" in row for row in models.values())
    ]
    return section(
        "Accuracy on the test images",
        Html(f'<div class="cards">{"".join(cards)}</div>'),
        note(
            f"{images} test images, not used in training. The bars are {name_interval(confidence)}s ({methods}). They "
            "cover the choice of test images, not the variation between training runs, which python -m stages repeat "
            "measures."
        ),
        table(("Measure", *models), rows),
        *([_locked(metrics["locked"], thawed)] if "locked" in metrics else []),
        note(
            f"Calibration error: the expected calibration error of Guo et al. (2017), with {bins} bins of confidence."
        ),
    )


def _name_models(metrics: Mapping[str, Any], thawed: bool) -> dict[str, Scores]:
    """Return the scores of each model, by name."""
    if "gain" in metrics:
        return {"Head only": metrics["head"], "Fine-tuned": metrics["finetuned"]}
    return {"Fine-tuned" if thawed else "Head only": metrics["finetuned"]}


def _locked(metrics: Mapping[str, Any], thawed: bool) -> Html:
    """Return the accuracies over the locked test images."""
    said = []
    for name, row in _name_models(metrics, thawed).items():
        value, low, high = (format_percent(row[key]) for key in ("accuracy", "accuracy_low", "accuracy_high"))
        said.append(f"{name} {value} % ({low} to {high})")
    return note(
        f"On the {metrics['test_images']} locked test images: {', '.join(said).lower()}. Compare runs with the same "
        "locked images by these numbers."
    )


def _card(name: str, kind: str, row: Scores, scale: tuple[float, float], confidence: float) -> str:
    """Return a card with a large number, and its interval as text and as a bar."""
    difference = kind == "gain"
    show, unit = (format_points, "points") if difference else (format_percent, "%")
    value, low, high = (row[key] for key in ("accuracy", "accuracy_low", "accuracy_high"))
    ends = "".join(f"<span>{show(end, 0)}</span>" for end in scale)
    return (
        f'<div class="card"><h3>{name}</h3><strong>{show(value)} <i>{unit}</i></strong>'
        f"<span>{name_interval(confidence)} {show(low)} to {show(high)}</span>"
        f'{render_interval(value, (low, high), scale, kind, zero=difference)}<div class="ends">{ends}</div></div>'
    )
