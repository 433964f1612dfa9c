"""Predictions as a table, one row per image."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.base.errors import UserError
from stages.images.split_file import SplitFile


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return float64 probabilities (n, classes).

    Args:
        logits: (n, classes).

    Raises:
        UserError: a logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise UserError(
            "expected finite logits, received NaN or infinity: the training diverged, or a file is damaged. Set lower "
            "learning rates in finetune. If that does not help, `python -m stages check --data` finds damaged files."
        )
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def compute_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the cross-entropy of each image in nats, float64 (n,), at most 36.

    Args:
        labels: int (n,), the actual classes.
        probabilities: (n, classes).
    """
    own = probabilities[np.arange(len(labels)), labels]
    return np.asarray(-np.log(np.maximum(own, np.finfo(np.float64).eps)))


def tabulate(split: SplitFile, probabilities: Mapping[str, np.ndarray]) -> pa.Table:
    """Return one row per image: source, sha256, label, class, and the predictions of each model.

    Args:
        split: the images.
        probabilities: by model name, float64 (n, classes).

    Returns:
        For each MODEL also MODEL_predicted and MODEL_confidence (the class of highest probability), MODEL_loss (the
        cross-entropy in nats) and MODEL_probabilities.
    """
    names, labels = np.array(split.classes, dtype=object), split.labels()
    hashes = pq.read_table(split.path, columns=["sha256"])["sha256"]
    columns = {"source": split.sources(), "sha256": hashes, "label": labels, "class": names[labels]}
    for model, values in probabilities.items():
        columns[f"{model}_predicted"] = names[values.argmax(axis=1)]
        columns[f"{model}_confidence"] = values.max(axis=1).astype(np.float32)
        columns[f"{model}_loss"] = compute_losses(labels, values).astype(np.float32)
        columns[f"{model}_probabilities"] = pa.array(list(values.astype(np.float32)), pa.list_(pa.float32()))
    return pa.table(columns)
