"""Temperature scaling: one number divides all logits, so that a model is right about as often as it is confident.

Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks (ICML 2017, section 4.2). It changes no
prediction and no order of the classes, only how sure the model is.
"""

from dataclasses import dataclass
from math import exp, log

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from stages.measure.predictions import compute_losses, softmax

LOWEST, HIGHEST = 0.01, 100.0
_DIGITS = 4  # of the temperature, so that what is shown is what divides the logits
_TOLERANCE = 1e-6  # of its logarithm


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature.

    Attributes:
        value: divides the logits; above 1, the model was too confident.
        images: it was fitted on.
        before: their mean log loss in nats without it.
        after: with it; never higher.
        limit: why the loss alone would have gone further; "" if its minimum was found.
    """

    value: float
    images: int
    before: float
    after: float
    limit: str = ""


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> Temperature:
    """Return the temperature with the lowest log loss.

    Where every image is predicted correctly, the loss falls as long as the temperature does, down to a model that is
    certain of everything. So the temperature is not lowered further once the mean confidence is (n + 1) / (n + 2): this
    accuracy is what n images without a mistake let one expect (Laplace's rule of succession).

    Args:
        labels: int (n,), the actual classes; n is at least 1.
        logits: (n, classes).
    """
    wide = logits.astype(np.float64)
    largest = (len(labels) + 1) / (len(labels) + 2)

    def loss(logarithm: float) -> float:
        scaled = wide / exp(logarithm)
        scaled -= scaled.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(labels)), labels]))

    def excess(logarithm: float) -> float:
        return float(softmax(wide / exp(logarithm)).max(axis=1).mean()) - largest

    low, high = log(LOWEST), log(HIGHEST)
    if excess(0.0) >= 0:
        low = 0.0
    elif excess(low) > 0:
        low = float(brentq(excess, low, 0.0, xtol=_TOLERANCE))
    found = float(minimize_scalar(loss, bounds=(log(LOWEST), high), method="bounded", options={"xatol": _TOLERANCE}).x)
    limit = ""
    if found < low:
        found, limit = low, f"{len(labels)} images support a mean confidence of {100 * largest:.1f} % at most"
    elif found > high - 1e3 * _TOLERANCE:
        limit = f"{HIGHEST:g} is the highest allowed; the model tells the classes no better than chance"
    value = float(f"{exp(found):.{_DIGITS}g}")
    before, after = (float(compute_losses(labels, softmax(wide / by)).mean()) for by in (1.0, value))
    if after >= before:
        value, after = 1.0, before
    return Temperature(value, len(labels), before, after, limit)


def describe_temperature(fitted: Temperature) -> str:
    """Return a line on a fitted temperature."""
    stopped = f"; {fitted.limit}" if fitted.limit else ""
    return (
        f"temperature {fitted.value:.4g}, fitted on {fitted.images} validation images: their log loss is "
        f"{fitted.after:.4f}, and was {fitted.before:.4f}{stopped}"
    )
