"""SavedModel: the format of TensorFlow Serving, and of ``keras.layers.TFSMLayer``. TensorFlow only.

``keras.Model.export`` writes other bytes at every run: the weights come in another order each time. Saved as a plain
``tf.Module`` that lists its weights, the same network gives the same bytes, but for ``fingerprint.pb``. That file holds
a random identifier and nothing that loading needs; it is left out.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no log of its own devices when it only runs a model

import tensorflow as tf

from stages.formats.card import INPUT, OUTPUT, SIGNATURE


def write_saved_model(module: Any, folder: Path) -> None:
    """Write a module of ``stages.formats.serving`` as a SavedModel.

    Args:
        module: has the function ``serve``; it becomes the endpoint ``serve`` and the signature ``serving_default``.
        folder: does not exist yet.
    """
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.serve})
    (folder / "fingerprint.pb").unlink()
    (folder / "assets").rmdir()  # empty: git and DVC would not keep it


def read_saved_model(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function of a SavedModel that takes pixels and gives probabilities."""
    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures[SIGNATURE]

    def probabilities(pixels: np.ndarray) -> np.ndarray:
        assert loaded is not None  # without a reference to it, its weights are gone
        return np.asarray(signature(**{INPUT: tf.constant(pixels)})[OUTPUT])

    return probabilities
