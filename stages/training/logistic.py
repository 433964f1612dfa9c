"""Fit a linear classifier to convergence: multinomial logistic regression, which needs no learning rate and no epochs.

Cross-validation over the images, or over groups of images that belong together, chooses the strength of the L2 penalty
by log loss. The optimum is that of scikit-learn's LogisticRegression on the same rows. To speed up L-BFGS, the rows are
centered and divided by a single number, which changes only the unit of the penalty.
"""

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from scipy.special import log_softmax

from stages.base.prefetch import map_in_threads
from stages.base.processor import count_cores

# Candidates for scikit-learn's C, strongest penalty first, for rows whose variances sum to 1.
GRID = 10.0 ** np.arange(-1, 4.5, 0.5)
FALLBACK = 100.0  # if nothing can be held out
PATIENCE = 2  # candidates without improvement before the search stops
FOLDS = 5
MAX_ROWS = 4000  # rows used in cross-validation, about; a subset of the groups if there are more
TOLERANCE = 1e-6  # of the gradient of the mean loss; ten times as much in cross-validation
ITERATIONS = 1000
_TRAINED, _UNUSED = -1, -2  # instead of a fold: never held out; in no fold


@dataclass(frozen=True)
class LogisticFit:
    """A fitted classifier: logits are ``rows @ kernel + bias``.

    Attributes:
        kernel: float64 (features, classes); each of its rows sums to 0.
        bias: float64 (classes,).
        strength: of the penalty: scikit-learn's C for the original rows.
        folds: of the cross-validation; 0 if nothing could be held out.
        groups: how many were held out.
        iterations: of L-BFGS in the final fit.
        converged: whether the optimum was reached.
    """

    kernel: np.ndarray
    bias: np.ndarray
    strength: float
    folds: int
    groups: int
    iterations: int
    converged: bool


def estimate_memory(rows: int, features: int) -> int:
    """Return about how many bytes ``fit_logistic`` takes: for the rows, and for those of each fold at the same time.

    Args:
        rows: how many.
        features: in a row.
    """
    return 8 * features * (rows + FOLDS * min(rows, MAX_ROWS))


def fit_logistic(
    rows: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, weights: np.ndarray, seed: int
) -> LogisticFit:
    """Fit logistic regression with the penalty that has the lowest log loss in cross-validation.

    Linear algebra runs on one thread, so that the number of cores does not change the result.

    Args:
        rows: float64 (n, features); overwritten.
        labels: class of each row, int64 (n,); each class has a row.
        groups: number of the image that each row is a view of, or of its group, int64 (n,). All rows of a group are in
            one fold.
        weights: of each row in the loss, float64 (n,).
        seed: of the assignment to folds.
    """
    with _one_thread() as caught:
        center, scale = _normalize(rows)
        folds = assign_folds(labels, groups, seed, -(-len(rows) // MAX_ROWS))
        strength = _choose_strength(rows, labels, weights, folds)
        caught.clear()  # warnings of cross-validation
        model = _make_model(strength, rows, TOLERANCE).fit(rows, labels, sample_weight=weights)
    kernel, bias = model.coef_.T / scale, model.intercept_
    if kernel.shape[1] == 1:  # one logit for two classes
        kernel, bias = kernel * [-0.5, 0.5], bias * [-0.5, 0.5]
    held_out = folds >= 0
    return LogisticFit(
        kernel=kernel,
        bias=bias - center @ kernel,
        strength=model.C / scale**2,
        folds=len(np.unique(folds[held_out])),
        groups=len(np.unique(groups[held_out])),
        iterations=int(model.n_iter_.max()),
        converged=not caught,
    )


def predict_held_out(
    rows: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, fold by fold, places of rows and their class probabilities, by a classifier that was fitted without them.

    The penalty is chosen as in ``fit_logistic``. Rows of a class that is all in one fold are never held out.

    Args:
        rows: float64 (n, features); overwritten.
        labels: class of each row, int64 (n,); each class has a row.
        groups: see ``fit_logistic``.
        seed: of the assignment to folds.

    Yields:
        The places, int64 (m,), and the probabilities, float64 (m, classes).
    """
    with _one_thread():
        _normalize(rows)
        strength = _choose_strength(
            rows, labels, np.ones(len(rows)), assign_folds(labels, groups, seed, -(-len(rows) // MAX_ROWS))
        )
        folds = assign_folds(labels, groups, seed)

        def predict(fold: int) -> tuple[np.ndarray, np.ndarray]:
            train, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            model = _make_model(strength, rows, 10 * TOLERANCE).fit(rows[train], labels[train])
            return held_out, model.predict_proba(rows[held_out])

        numbers = np.unique(folds[folds >= 0])
        yield from map_in_threads(predict, numbers, count_cores(), FOLDS)


def assign_folds(labels: np.ndarray, groups: np.ndarray, seed: int, step: int = 1) -> np.ndarray:
    """Return the fold in which each row is held out, int64 (n,): stratified, so that no fold lacks a training class.

    Where all images of a class would be in one fold, they are never held out (-1).

    Args:
        labels: class of each row, int64 (n,).
        groups: of each row, int64 (n,); a group is in one fold.
        seed: of the order.
        step: use every ``step``-th group; the others are in no fold (-2).
    """
    _, first, numbers = np.unique(groups, return_index=True, return_inverse=True)
    used = np.lexsort((np.random.default_rng(seed).random(len(first)), labels[first]))[::step]
    folds = np.full(len(first), _UNUSED)
    folds[used] = np.arange(len(used)) % min(FOLDS, len(used))
    for label in np.unique(labels):
        of_class = np.unique(numbers[labels == label])
        held = of_class[folds[of_class] != _UNUSED]
        if len(np.unique(folds[held])) < 2:
            folds[held if len(held) else of_class[:1]] = _TRAINED
    return folds[numbers]


@contextmanager
def _one_thread() -> Iterator[list[warnings.WarningMessage]]:
    """Run linear algebra on one thread; yield the list of warnings about fits that did not converge."""
    from sklearn.exceptions import ConvergenceWarning  # here: scikit-learn takes seconds to import
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        yield caught


def _normalize(rows: np.ndarray) -> tuple[np.ndarray, float]:
    """Center rows in place and divide them by a number; return the center and the number."""
    center = rows.mean(axis=0)
    rows -= center
    # With a mean variance of 1, the tolerance means the same for any backbone.
    scale = float(np.sqrt(np.vdot(rows, rows) / rows.size)) or 1.0
    rows /= scale
    return center, scale


def _choose_strength(rows: np.ndarray, labels: np.ndarray, weights: np.ndarray, folds: np.ndarray) -> float:
    """Return the strength of GRID with the lowest log loss on held-out rows.

    The search starts with the strongest penalty; each fit starts from the previous one. It stops when weaker penalties
    do worse.
    """
    numbers = np.unique(folds[folds >= 0])
    if not len(numbers):
        return FALLBACK
    models = {fold: _make_model(GRID[0], rows, 10 * TOLERANCE) for fold in numbers}

    def measure(fold: int, strength: float) -> float:
        train, held_out = np.flatnonzero((folds >= _TRAINED) & (folds != fold)), np.flatnonzero(folds == fold)
        model = models[fold].set_params(C=strength / rows.shape[1])
        model.fit(rows[train], labels[train], sample_weight=weights[train])
        return _log_loss(model, rows[held_out], labels[held_out], weights[held_out])

    losses: list[float] = []
    with ThreadPoolExecutor() as pool:
        for strength in GRID:
            losses.append(sum(pool.map(measure, numbers, repeat(strength))))
            if len(losses) - np.argmin(losses) > PATIENCE:
                break
    return float(GRID[np.argmin(losses)])


def _make_model(strength: float, rows: np.ndarray, tolerance: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength / rows.shape[1], tol=tolerance, max_iter=ITERATIONS, warm_start=True)


def _log_loss(model: Any, rows: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    logits = model.decision_function(rows)
    if logits.ndim == 1:
        logits = np.stack([np.zeros_like(logits), logits], axis=1)
    places = np.searchsorted(model.classes_, labels)
    return -float(weights @ log_softmax(logits, axis=1)[np.arange(len(labels)), places])
