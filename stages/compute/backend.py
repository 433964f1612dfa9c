"""Choose the framework before it is imported, and rule out settings of the environment that change its results."""

import os
from importlib.util import find_spec

from stages.base.errors import UserError

BACKENDS = ("tensorflow", "jax")

_VARIABLE = "KERAS_BACKEND"
ENVIRONMENT = {
    # TensorFlow leaves oneDNN off on processors without AVX512_VNNI, where training then takes nearly three times as
    # long.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # The number of threads that share a sum changes its last digits: TensorFlow and JAX (XLA) use this many, whatever
    # the number of cores.
    "TF_NUM_INTRAOP_THREADS": "8",
    "NPROC": "8",
    # Processors with AVX512 then train to the same bytes as those without (docs/same_bytes.md).
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    # A keras.json in the home folder could change the backend, float type, epsilon and image layout: Keras finds none.
    "KERAS_HOME": os.devnull,
}
_NOT_IN_BFLOAT16 = ("ONEDNN_MAX_CPU_ISA",)  # which needs other instructions
# Variables with these prefixes are unset, except for those that choose a device and a cache of compiled code.
_UNSET = ("DNNL_", "JAX_", "KERAS_", "NVIDIA_TF32_OVERRIDE", "ONEDNN_", "TF_SET_ONEDNN_", "TF_XLA_FLAGS")
_ALLOWED = ("JAX_PLATFORMS", "JAX_COMPILATION_CACHE_DIR")
_chosen = False


def choose_backend(backend: str, precision: str = "float32") -> None:
    """Set the backend of Keras, in a process that has not imported Keras.

    Args:
        backend: tensorflow or jax.
        precision: in which networks compute; float32 or bfloat16.

    Raises:
        UserError: the environment names another backend.
    """
    global _chosen
    named = os.environ.get(_VARIABLE)
    if named and named != backend:
        raise UserError(
            f"compute.backend is {backend}, but the environment variable {_VARIABLE} says {named}. "
            f"Unset it{f', or set compute.backend: {named}' if named in BACKENDS else ''}."
        )
    for name in [name for name in os.environ if name.startswith(_UNSET) and name not in _ALLOWED]:
        del os.environ[name]
    unfit = _NOT_IN_BFLOAT16 if precision == "bfloat16" else ()
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in unfit})
    os.environ[_VARIABLE] = backend
    _chosen = True


def ensure_backend() -> None:
    """Choose the backend that the environment names, or TensorFlow, if none was chosen, as in tests.

    Raises:
        UserError: the backend is not installed.
    """
    if not _chosen:
        named = os.environ.get(_VARIABLE)
        choose_backend(named if named in BACKENDS else BACKENDS[0])
    backend = os.environ[_VARIABLE]
    if find_spec(backend) is None:
        extra = "." if backend == "tensorflow" else f"'.[{backend}]'"
        raise UserError(f"compute.backend: {backend} is not installed. Run `pip install -e {extra}`.")
