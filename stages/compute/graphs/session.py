"""Run an ONNX graph, always the same number of rows at a time."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime

from stages.base.errors import UserError
from stages.base.processor import count_cores
from stages.compute.devices import count_gpus, run_in_batches

# This optimizer would merge what ``stages.compute.graphs.edit.cut`` computes twice on purpose.
_DISABLED = ["CommonSubexpressionElimination"]
_CUDA = "CUDAExecutionProvider"
_CALLS = 4  # concurrent calls, at most: each needs memory


def has_cuda() -> bool:
    """Whether the installed package of ONNX Runtime is the one for NVIDIA GPUs."""
    return _CUDA in onnxruntime.get_available_providers()


class Graph:
    """A graph of one input that is ready to run: on a GPU if ONNX Runtime can use one, else on the CPU.

    All batches have one size (the last is padded), so that outputs do not depend on the other rows. Several threads may
    call it at a time. That is faster than several threads for each batch, which wait for each other at every layer.

    Args:
        model: the graph.
        batch_size: rows at a time.

    Attributes:
        batch_size: as given.
        threads: how many concurrent calls make best use of the machine.
        device: "GPU" or "CPU".

    Raises:
        UserError: there is a GPU, ONNX Runtime's package is the one for GPUs, and it cannot use it.
    """

    def __init__(self, model: onnx.ModelProto, batch_size: int) -> None:
        onnxruntime.set_default_logger_severity(4)
        options = onnxruntime.SessionOptions()
        cores = count_cores()
        self.threads = min(cores, _CALLS)
        options.intra_op_num_threads = max(1, cores // self.threads)
        # Threads that spin while they wait would block the cores that decode the next images.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # In float32, as on a CPU: by default a GPU uses TF32.
        gpu = [(_CUDA, {"use_tf32": 0})] if count_gpus() and has_cuda() else []
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, [*gpu, "CPUExecutionProvider"], disabled_optimizers=_DISABLED
        )
        used = _CUDA in self._session.get_providers()
        if gpu and not used:
            raise UserError(
                "onnxruntime-gpu is installed and cannot use the GPU of this machine: its CUDA or cuDNN libraries are "
                "missing or of another version. Install those it needs, or onnxruntime instead."
            )
        self.batch_size, self.device = batch_size, "GPU" if used else "CPU"
        self._input = self._session.get_inputs()[0].name
        self._dtype = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}[self._session.get_inputs()[0].type]
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, rows: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return the outputs by name for ``rows`` (n, ...), n > 0."""
        outputs = run_in_batches(self._run, rows.astype(self._dtype, copy=False), self.batch_size)
        return dict(zip(self._outputs, outputs, strict=True))

    def _run(self, rows: np.ndarray) -> list[np.ndarray]:
        return list(self._session.run(None, {self._input: rows}))
