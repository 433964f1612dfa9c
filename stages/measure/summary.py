"""Scores as lines for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

_CALIBRATED = (
    "temperature {temperature:.4g} changes the log loss from {uncalibrated_log_loss:.4f} to {log_loss:.4f} and the "
    "calibration error from {uncalibrated_calibration_error:.3f} to {calibration_error:.3f}"
)


def describe_scores(scores: Mapping[str, Any], confidence: float) -> Iterator[str]:
    """Yield a line on all test images, one on locked images, one on the gain, and one on each calibrated model, if any.

    Args:
        scores: the content of scores.json.
        confidence: of the intervals.
    """
    yield f"accuracy on {scores['test_images']} test images: {_accuracies(scores)}"
    if "locked" in scores:
        yield f"on the {scores['locked']['test_images']} locked ones: {_accuracies(scores['locked'])}"
    gain = "fine-tuning changes it by {accuracy:+.1f} points ({accuracy_low:+.1f} to {accuracy_high:+.1f}); "
    said = gain.format_map(_percent(scores["gain"])) if "gain" in scores else ""
    yield f"{said}in parentheses: {100 * confidence:.3g} % intervals"
    for key, name in _name_models(scores).items():
        if "temperature" in scores[key]:
            yield f"{name}: " + _CALIBRATED.format_map(scores[key])


def _name_models(scores: Mapping[str, Any]) -> dict[str, str]:
    if "gain" in scores:
        return {"head": "head only", "finetuned": "fine-tuned"}
    # one model; where only the head was trained, it is both
    return {"head": "head only"} if "head" in scores else {"finetuned": "fine-tuned"}


def _accuracies(scores: Mapping[str, Any]) -> str:
    said = "{accuracy:.1f} % ({accuracy_low:.1f} to {accuracy_high:.1f})".format_map
    return ", ".join(f"{name} {said(_percent(scores[key]))}" for key, name in _name_models(scores).items())


def _percent(row: Mapping[str, float]) -> dict[str, float]:
    return {key: 100 * value for key, value in row.items()}
