"""Scores as lines for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any


def describe_scores(scores: Mapping[str, Any], confidence: float) -> Iterator[str]:
    """Yield a line for the scores of all test images, one for those of locked images, if any, and one for the gain.

    Args:
        scores: the content of scores.json.
        confidence: of the intervals.
    """
    yield f"{scores['test_images']} test images: {_accuracies(scores)}"
    if "locked" in scores:
        yield f"{scores['locked']['test_images']} of them locked: {_accuracies(scores['locked'])}"
    gain = "{accuracy:+.1f} points ({accuracy_low:+.1f} to {accuracy_high:+.1f})".format_map(_percent(scores["gain"]))
    yield f"gain {gain}; the intervals are at {confidence:.3g}"


def _accuracies(scores: Mapping[str, Any]) -> str:
    said = "{accuracy:.1f} % ({accuracy_low:.1f} to {accuracy_high:.1f})".format_map
    return f"head only {said(_percent(scores['head']))} right, fine-tuned {said(_percent(scores['finetuned']))}"


def _percent(row: Mapping[str, float]) -> dict[str, float]:
    return {key: 100 * value for key, value in row.items()}
