"""Choose the framework that computes, before it is imported, and rule out what else would change its numbers."""

import os
from importlib.util import find_spec

from stages.base.stage import UserError

_VARIABLE = "KERAS_BACKEND"
_SET = {
    # TensorFlow leaves oneDNN off on processors without AVX512_VNNI, where training then takes nearly three times as
    # long. With these instructions a training gives the same bytes on any number of cores (docs/same_bytes.md).
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    # A keras.json in a home folder may change the backend, float type, epsilon and image layout: Keras finds none here.
    "KERAS_HOME": os.devnull,
}
_UNSET = (
    "JAX_DEFAULT_MATMUL_PRECISION",
    "JAX_DEFAULT_PRNG_IMPL",
    "JAX_ENABLE_X64",
    "JAX_NUMPY_DTYPE_PROMOTION",
    "KERAS_MAX_EPOCHS",
    "KERAS_MAX_STEPS_PER_EPOCH",
    "KERAS_NNX_ENABLED",
    "NVIDIA_TF32_OVERRIDE",
    "TF_XLA_FLAGS",
)


def choose_backend(backend: str) -> None:
    """Make ``backend`` (tensorflow or jax) the one that Keras computes with, in a process that has not imported Keras.

    Raises:
        UserError: the environment names another, or it is not installed.
    """
    named = os.environ.get(_VARIABLE)
    if named and named != backend:
        raise UserError(
            f"compute.backend is {backend}, and the variable {_VARIABLE} says {named}. "
            f"Unset the variable, or set compute.backend: {named}."
        )
    if find_spec(backend) is None:
        extra = "." if backend == "tensorflow" else f"'.[{backend}]'"
        raise UserError(f"compute.backend: {backend} is not installed. Run `pip install -e {extra}`.")
    os.environ[_VARIABLE] = backend
    fix_environment()


def fix_environment() -> None:
    """Set and unset the variables that change what a framework computes. Without a chosen backend it is tensorflow."""
    os.environ[_VARIABLE] = os.environ.get(_VARIABLE) or "tensorflow"
    os.environ.update(_SET)
    for name in _UNSET:
        os.environ.pop(name, None)
