"""Choose the framework that computes, before it is imported, and rule out what else would change its numbers."""

import os
from importlib.util import find_spec

from stages.base.stage import UserError

_VARIABLE = "KERAS_BACKEND"
_SET = {
    # TensorFlow leaves oneDNN off on processors without AVX512_VNNI, where training then takes nearly three times as
    # long.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # How a sum is divided among threads changes its last digits: TensorFlow and JAX (XLA) take so many, however many
    # cores there are.
    "TF_NUM_INTRAOP_THREADS": "8",
    "NPROC": "8",
    # Processors with AVX512 then train to the same bytes as those without (docs/same_bytes.md).
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
_NOT_IN_BFLOAT16 = ("ONEDNN_MAX_CPU_ISA",)  # which needs more than these instructions
_chosen = False


def choose_backend(backend: str, precision: str = "float32") -> None:
    """Make ``backend`` (tensorflow or jax) the one that Keras computes with, in a process that has not imported Keras.

    Args:
        precision: in which networks compute; float32 or bfloat16.

    Raises:
        UserError: the environment names another backend.
    """
    global _chosen
    named = os.environ.get(_VARIABLE)
    if named and named != backend:
        raise UserError(
            f"compute.backend is {backend}, and the variable {_VARIABLE} says {named}. "
            f"Unset the variable, or set compute.backend: {named}."
        )
    os.environ.update({**_SET, _VARIABLE: backend})
    for name in _UNSET + (_NOT_IN_BFLOAT16 if precision == "bfloat16" else ()):
        os.environ.pop(name, None)
    _chosen = True


def ensure_backend() -> None:
    """Choose TensorFlow, or what the environment names, where nothing was chosen, as by a command that trains nothing.

    Raises:
        UserError: the backend is not installed.
    """
    if not _chosen:
        choose_backend(os.environ.get(_VARIABLE) or "tensorflow")
    backend = os.environ[_VARIABLE]
    if find_spec(backend) is None:
        extra = "." if backend == "tensorflow" else f"'.[{backend}]'"
        raise UserError(f"compute.backend: {backend} is not installed. Run `pip install -e {extra}`.")
