"""Linear probing: fit only the head, to convergence; fine-tuning starts from there.

Kumar, Raghunathan, Jones, Ma and Liang, Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution (ICLR 2022): while a new head is still wrong, its gradients change features that were good.
"""

import time

import numpy as np
import pandas as pd
from scipy.special import softmax

from stages.base.errors import UserError
from stages.base.memory import read_available_memory
from stages.base.terminal import format_size, say
from stages.compute.forward import Forward
from stages.compute.networks import Model
from stages.training.dataloader import Data
from stages.training.history import make_table
from stages.training.logistic import ITERATIONS, LogisticFit, estimate_memory, fit_logistic
from stages.training.train import TrainingConfig, compute_class_weights, measure
from stages.transfer.heads import set_classifier

_READ = 1024  # rows at a time
_MAX_ERROR = 0.01  # of a probability, from rounding to float32


def probe(
    head: Model, training: Data, validation: Data | None, groups: np.ndarray, config: TrainingConfig
) -> pd.DataFrame:
    """Fit a head without hidden layers by logistic regression.

    Args:
        head: from features to logits; its weights are replaced.
        training: features, each with a single class. All are held in memory, as float64.
        validation: to measure the head on; None if there is none.
        groups: of each row of ``training``, as ``stages.images.split_file.SplitFile.groups`` numbers them.
        config: only ``balanced``, ``seed`` and ``batch_size`` are used.

    Returns:
        The history: one row, without a learning rate.

    Raises:
        UserError: there is too little memory, or the features are too similar for float32.
    """
    say(_check_memory(len(training), head.input_shape[-1]))
    began = time.monotonic()
    weights = compute_class_weights(training)[training.labels] if config.balanced else np.ones(len(training))
    fitted = fit_logistic(
        _read_rows(training), training.labels, groups, weights=weights.astype(np.float64), seed=config.seed
    )
    # A group has the index of its last image, so without groups the indices have no gaps.
    unit = "images" if len(np.unique(groups)) == groups.max() + 1 else "groups of images"
    say(_describe(fitted, unit, time.monotonic() - began))
    if not fitted.converged:
        say(
            f"warning: the head did not converge in {fitted.iterations} iterations (at most {ITERATIONS}). Compare its "
            "accuracy with that of finetune.head.solver: gradient."
        )
    set_classifier(head, fitted.kernel, fitted.bias)
    predict = Forward(head, config.batch_size)
    few = training.batch(np.arange(min(_READ, len(training))), 0)[0]
    exact = few.astype(np.float64) @ fitted.kernel + fitted.bias
    if (error := np.abs(softmax(predict(few), axis=1) - softmax(exact, axis=1)).max()) > _MAX_ERROR:
        raise UserError(
            f"finetune.head.solver: expected gradient, because the features of all images are so similar that rounding "
            f"to float32 changes the probabilities by {error:.2g}; received logistic. Set it to gradient, and check "
            f"that the backbone is pretrained."
        )
    row = measure(predict, training)
    if validation is not None:
        row |= {f"val_{key}": value for key, value in measure(predict, validation).items()}
    return make_table([row], "head", 0)


def _check_memory(rows: int, features: int) -> str:
    """Return a line that says how much memory the fit takes; raise UserError if there is less."""
    needed, available = estimate_memory(rows, features), read_available_memory()
    line = f"logistic regression on {rows:,} views x {features:,} features takes about {format_size(needed)} of memory"
    if available is None or needed <= available:
        return line
    raise UserError(
        f"finetune.head.solver: {line}; {format_size(available)} are available. Free some memory, set fewer "
        f"extract.views, or set finetune.head.solver: gradient."
    )


def _read_rows(data: Data) -> np.ndarray:
    rows = np.empty((len(data), *data.batch(np.arange(1), 0)[0].shape[1:]))
    for start in range(0, len(data), _READ):
        places = np.arange(start, min(start + _READ, len(data)))
        rows[places] = data.batch(places, 0)[0]
    return rows


def _describe(fitted: LogisticFit, unit: str, seconds: float) -> str:
    how = (
        f"chosen by {fitted.folds}-fold cross-validation over {fitted.groups} {unit}"
        if fitted.folds
        else f"fixed, because no class has two {unit}"
    )
    return f"logistic regression: C {fitted.strength:.3g} ({how}), {fitted.iterations} iterations, {seconds:.1f} s"
