"""Import the framework quietly and set it up: seeds, repeatable operations, and the devices that compute.

The modules of this folder import Keras from here, so that it is set up first; other folders use their functions and
values. ``stages.compute.backend.choose_backend`` comes before. Code for one backend alone is here and in
``on_tensorflow``, ``on_jax`` and ``serving``.
"""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from stages.base.errors import UserError
from stages.base.terminal import say
from stages.compute.backend import ensure_backend
from stages.compute.native_logs import silence_native_logs

_entered = ExitStack()
_started = False
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ensure_backend()


@contextmanager
def _quick() -> Iterator[None]:
    """Import the framework in half the time: without its adapters for libraries that are not used with it.

    The import leaves no garbage, and collecting it would take two seconds, here and when the process ends.
    """
    unused = {"matplotlib", "sklearn"} | ({"jax"} if os.environ["KERAS_BACKEND"] == "tensorflow" else set())
    unused -= set(sys.modules)
    enabled = gc.isenabled()
    gc.disable()
    sys.modules |= dict.fromkeys(unused)  # type: ignore[arg-type]  # "not installed"
    try:
        yield
    finally:
        for name in unused:
            del sys.modules[name]
        gc.freeze()
        if enabled:
            gc.enable()


with silence_native_logs(), _quick():  # TensorFlow logs about itself before its log level can be set
    import keras as keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf
    elif keras.backend.backend() == "jax":
        import jax


def backend_name() -> str:
    """Return the framework that computes: ``tensorflow`` or ``jax``."""
    name: str = keras.backend.backend()
    return name


def list_devices() -> list[str]:
    """Return the names of the devices that the framework sees."""
    names: list[str] = keras.distribution.list_devices()
    return names


def start(seed: int, devices: int | str = 1) -> None:
    """Seed every random generator and make operations deterministic, so that a second run writes the same bytes.

    Args:
        seed: for Python, NumPy and the Keras backend.
        devices: how many GPUs share each batch, or ``auto`` for all of them. Without a GPU, the CPU is divided into so
            many devices, which is no faster, and ``auto`` is 1.

    Raises:
        UserError: there are fewer GPUs, or the version of Keras is not supported.
    """
    global _started
    _started = True
    backend = backend_name()
    if backend == "jax" and not isinstance(devices, str):
        jax.config.update("jax_num_cpu_devices", devices)  # before JAX looks for devices
    _check_private_names()
    keras.utils.clear_session(free_memory=False)  # layers are numbered from the start
    with silence_native_logs():  # under JAX this imports TensorFlow where it is installed
        keras.utils.set_random_seed(seed)
    gpus = _gpus()
    count = max(1, gpus) if isinstance(devices, str) else devices
    if gpus and count > gpus:
        raise UserError(f"compute.devices: expected at most {gpus}, for there are {gpus} GPUs; received {count}.")
    if backend == "tensorflow":
        _start_tensorflow(count, gpus)
    elif count > 1:
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=jax.devices()[:count]))


def _check_private_names() -> None:
    """Raise UserError if this version of Keras lacks a private name that the code uses."""
    tensor = keras.Input((1,))
    used = {tensor: ["_keras_history"], keras.Model(tensor, tensor): ["_flatten_layers", "_run_through_graph"]}
    if backend_name() == "tensorflow":  # creates no variable: devices are not set up yet
        used[keras.optimizers.Optimizer] = ["_all_reduce_sum_gradients"]
    else:
        used[keras.optimizers.SGD()] = ["_learning_rate"]
    if missing := [name for owner, names in used.items() for name in names if not hasattr(owner, name)]:
        raise UserError(f"Keras {keras.__version__} has no {', '.join(missing)}. Run `pip install -e .`.")


def ensure_started() -> None:
    """Start on all devices, unless the process has started: a training retains its seed and devices."""
    if not _started:
        start(seed=0, devices="auto")


@contextmanager
def disable_tf32() -> Iterator[None]:
    """Let a GPU multiply in float32 inside the block; by default it uses 10 bits of each mantissa (TF32)."""
    if backend_name() == "jax":
        with jax.default_matmul_precision("highest"):
            yield
        return
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def check_gpu() -> bool:
    """Return whether the framework sees the GPU of this machine; if not, say what is missing."""
    if not on_gpu():
        package = "pip install -e '.[gpu]'" if backend_name() == "tensorflow" else "pip install 'jax[cuda]'"
        say(f"{backend_name()} does not see the GPU of this machine, so the CPU computes: {package}")
    return on_gpu()


def _start_tensorflow(count: int, gpus: int) -> None:
    tf.config.experimental.enable_op_determinism()
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)  # leave the rest of the memory to other processes
    if count > 1:
        if not gpus:
            parts = [tf.config.LogicalDeviceConfiguration()] * count
            tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
        names = [device.name for device in tf.config.list_logical_devices("GPU" if gpus else "CPU")]
        # Never left: networks must be built inside, and each stage is a process.
        _entered.enter_context(tf.distribute.MirroredStrategy(names[:count]).scope())


def device_count() -> int:
    """Return how many devices compute."""
    if backend_name() == "tensorflow":
        return int(tf.distribute.get_strategy().num_replicas_in_sync)
    distribution = keras.distribution.distribution()
    return 1 if distribution is None else len(distribution.device_mesh.devices.flatten())


def on_gpu() -> bool:
    """Whether a GPU computes."""
    return _gpus() > 0


def _gpus() -> int:
    if backend_name() == "tensorflow":
        return len(tf.config.list_physical_devices("GPU"))
    return jax.device_count() if jax.default_backend() == "gpu" else 0
