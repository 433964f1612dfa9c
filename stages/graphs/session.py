"""Run an ONNX graph, always the same number of rows at a time."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from stages.base.stage import UserError

# It would merge what ``stages.graphs.edit.cut`` computes twice on purpose.
_OFF = ["CommonSubexpressionElimination"]
# On a GPU in float32 as everywhere else; NVIDIA's TF32 has 10 bits.
_CUDA = ("CUDAExecutionProvider", {"use_tf32": 0})


def has_cuda() -> bool:
    """Whether the installed ONNX Runtime can compute on an NVIDIA GPU."""
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


class Graph:
    """A graph of one input that is ready to run.

    Rows come in batches of one size, the last filled up: what a row gives does not depend on the rows beside it.

    Args:
        model: its bytes, or its file.
        batch_size: rows at a time.
        gpu: whether to run on an NVIDIA GPU.

    Raises:
        UserError: the file is missing or no graph.
    """

    def __init__(self, model: bytes | Path, batch_size: int, gpu: bool = False) -> None:
        onnxruntime.set_default_logger_severity(4)
        options = onnxruntime.SessionOptions()
        # Threads that wait for work would hold the processors that decode the next images.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = [*([_CUDA] if gpu else []), "CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=providers, disabled_optimizers=_OFF)
        except Exception as error:  # the runtime has an error class for each way a file can be broken
            if not isinstance(model, Path):
                raise
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{model}: expected an ONNX graph, received a file that cannot be read as one ({reason}). "
                f"Delete it and run `dvc repro`, or `dvc pull`."
            ) from None
        self.batch_size = batch_size
        self._input = self._session.get_inputs()[0].name
        self._dtype = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}[self._session.get_inputs()[0].type]
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, rows: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return the outputs by name for ``rows`` (n, ...), n being 1 or more."""
        parts = [self._batch(rows[start : start + self.batch_size]) for start in range(0, len(rows), self.batch_size)]
        return {name: np.concatenate(part) for name, part in zip(self._outputs, zip(*parts, strict=True), strict=True)}

    def _batch(self, rows: np.ndarray) -> list[np.ndarray]:
        full = np.concatenate([rows, np.repeat(rows[-1:], self.batch_size - len(rows), axis=0)])
        return [
            output[: len(rows)]
            for output in self._session.run(None, {self._input: full.astype(self._dtype, copy=False)})
        ]
