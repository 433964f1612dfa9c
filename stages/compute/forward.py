"""Run a network over any number of images, always the same number at a time."""

import math
from typing import Any

import numpy as np

from stages.compute import on_backend
from stages.compute.devices import batch_size as fitting
from stages.compute.devices import in_batches
from stages.compute.runtime import device_count, keras, on_gpu

# Bytes of the largest tensor of a batch. Several such tensors are in memory at a time: a GPU of 8 GB has room for them.
_BYTES = {"cpu": 2**27, "gpu": 2**29}
_MOST = {"cpu": 256, "gpu": 1024}  # more is not faster


class Forward:
    """A network in inference, in batches of one size, for another would be compiled anew.

    Each device takes a batch of that size: results do not depend on the number of devices.

    Args:
        network: of one input and one output or more.
        batch_size: rows that a device takes; by default as many as speed asks for, of large images fewer.

    Attributes:
        batch_size: rows that all devices take together.
    """

    def __init__(self, network: keras.Model, batch_size: int | None = None) -> None:
        self.batch_size = (batch_size or automatic(network)) * device_count()
        self._run, self._structure = on_backend.Forward(network), network.output

    def __call__(self, rows: np.ndarray) -> Any:
        """Return the outputs, in the structure that the network gives them in, for ``rows`` (n, ...).

        What is computed in bfloat16 comes as float32.
        """
        outputs = in_batches(self._run, rows, self.batch_size)
        outputs = [output if output.dtype == np.uint8 else output.astype(np.float32, copy=False) for output in outputs]
        return keras.tree.pack_sequence_as(self._structure, outputs)


def automatic(network: keras.Model) -> int:
    """Return how many images ``network`` takes at a time: a power of two that bounds its largest tensor's size."""
    kind = "gpu" if on_gpu() else "cpu"
    return fitting(_largest(network), _MOST[kind], _BYTES[kind])


def _largest(network: keras.Model) -> int:
    """Return the numbers in the largest tensor of one image."""
    operations = network.layers if isinstance(network, keras.Sequential) else network.operations
    inner = [operation for operation in operations if isinstance(operation, keras.Model)]
    tensors = [tensor for operation in operations for tensor in keras.tree.flatten(operation.output)]
    sizes: list[int] = [math.prod(tensor.shape[1:]) for tensor in tensors]
    return max(*sizes, *(_largest(model) for model in inner), 1)
