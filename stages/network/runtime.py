"""Import the framework quietly and set it up: seeds, repeatable operations, and how models are compiled.

A script imports this module before any other that needs Keras. What only TensorFlow needs is here; the rest of the
network modules speak Keras, so that KERAS_BACKEND=jax works.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what C++ libraries write to stderr; show it after all when the block fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile("w+") as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            held.seek(0)
            shutil.copyfileobj(held, sys.stderr)
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


with quiet():  # TensorFlow logs about itself before its log level can be set
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf


def start(seed: int) -> None:
    """Seed every random generator and make operations repeatable, so that a second run writes the same bytes.

    Args:
        seed: for Python, NumPy and the Keras backend.
    """
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        tf.config.experimental.enable_op_determinism()
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)  # leave the rest of the GPU to others
