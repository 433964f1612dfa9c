"""Scores as lines for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any


def describe_scores(scores: Mapping[str, Any], confidence: float) -> Iterator[str]:
    """Yield a line for the scores of all test images, one for those of locked images, and one for the gain, if any.

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


def _accuracies(scores: Mapping[str, Any]) -> str:
    names = {"head": "head only", "finetuned": "fine-tuned"}
    if "gain" not in scores:  # one model; where only the head was trained, it is both
        names = {"head": "head only"} if "head" in scores else {"finetuned": "fine-tuned"}
    said = "{accuracy:.1f} % ({accuracy_low:.1f} to {accuracy_high:.1f})".format_map
    return ", ".join(f"{name} {said(_percent(scores[key]))}" for key, name in names.items())


def _percent(row: Mapping[str, float]) -> dict[str, float]:
    return {key: 100 * value for key, value in row.items()}
