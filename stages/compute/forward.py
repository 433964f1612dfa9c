"""Run a network over any number of images, in batches of one size."""

import math
from typing import Any

import numpy as np

from stages.compute import on_backend
from stages.compute.devices import fit_batch_size, run_in_batches
from stages.compute.runtime import device_count, keras, on_gpu

# Bytes of the largest tensor of a batch. Several of them are in memory at a time: they fit into a GPU of 8 GB.
_BYTES = {"cpu": 2**27, "gpu": 2**29}
_MOST = {"cpu": 256, "gpu": 1024}  # more is not faster


class Forward:
    """A network in inference, in batches of one size, since each size is compiled separately.

    Each device takes a batch of that size: results do not depend on the number of devices.

    Args:
        network: of one input and one output or more.
        batch_size: rows that a device takes; by default see ``choose_batch_size``.

    Attributes:
        batch_size: rows that all devices take together.
    """

    def __init__(self, network: keras.Model, batch_size: int | None = None) -> None:
        self.batch_size = (batch_size or choose_batch_size(network)) * device_count()
        self._run, self._structure = on_backend.Forward(network), network.output

    def __call__(self, rows: np.ndarray) -> Any:
        """Return the outputs for ``rows`` (n, ...), in the structure of the network's outputs.

        Outputs in bfloat16 are returned as float32.
        """
        outputs = run_in_batches(self._run, rows, self.batch_size)
        outputs = [output if output.dtype == np.uint8 else output.astype(np.float32, copy=False) for output in outputs]
        return keras.tree.pack_sequence_as(self._structure, outputs)


def choose_batch_size(network: keras.Model) -> int:
    """Return how many images ``network`` takes at a time: a power of two that limits the size of its largest tensor."""
    kind = "gpu" if on_gpu() else "cpu"
    return fit_batch_size(_largest(network), _MOST[kind], _BYTES[kind])


def _largest(network: keras.Model) -> int:
    """Return the number of elements in the largest tensor of one image."""
    operations = network.layers if isinstance(network, keras.Sequential) else network.operations
    inner = [operation for operation in operations if isinstance(operation, keras.Model)]
    tensors = [tensor for operation in operations for tensor in keras.tree.flatten(operation.output)]
    sizes: list[int] = [math.prod(tensor.shape[1:]) for tensor in tensors]
    return max(*sizes, *(_largest(model) for model in inner), 1)
