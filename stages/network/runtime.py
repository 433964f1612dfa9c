"""Import the framework quietly and set it up: seeds, repeatable operations, and how models are compiled.

A script imports this module before any other that needs Keras. What only TensorFlow needs is here; the rest of the
network modules speak Keras, so that KERAS_BACKEND=jax works.
"""

import os

from stages.base.quiet import quiet

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

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
