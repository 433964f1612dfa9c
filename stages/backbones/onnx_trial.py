"""Run an ONNX network on a few images: whether it loads, runs, and computes the output of each image from it alone."""

from collections.abc import Mapping
from importlib.metadata import version

import numpy as np
import onnx

from stages.base.errors import UserError, summarize
from stages.compute.graphs.session import Graph

ROWS = 3  # images
_TOLERANCE = 1e-3  # rounding differs between a batch of one image and a larger one
AGAIN = "Copy the file again, or export it again with standard operators only."
FIXED = (
    "it was exported with a fixed batch size of {}. Export it with a variable one: torch.onnx.export(…, "
    "dynamic_shapes=({{0: 'n'}},))."
)


def run(graph: onnx.ModelProto, rows: np.ndarray, fixed: int, batch_size: int = ROWS) -> Mapping[str, np.ndarray]:
    """Return the outputs of a network by name.

    Args:
        graph: the network.
        rows: its input, (n, ...).
        fixed: the batch size that it was exported with; 0 if it was left open.
        batch_size: rows at a time.

    Raises:
        UserError: ONNX Runtime cannot load or run it.
    """
    return _run(_open(graph, batch_size), rows, fixed)


def try_out(graph: onnx.ModelProto, rows: np.ndarray, fixed: int) -> None:
    """Check that the features of an image are finite, reproducible, and independent of the rest of the batch.

    Args:
        graph: from pixels to features.
        rows: images, (ROWS, side, side, channels).
        fixed: see ``run``.

    Raises:
        UserError: they are not, or do not depend on the image.
    """
    session = _open(graph, ROWS)
    together, again, reordered = (_run(session, images, fixed) for images in (rows, rows, rows[[0, 2, 1]]))
    alone = run(graph, rows, fixed, batch_size=1)
    if all(np.array_equal(values[:1].repeat(ROWS, axis=0), values) for values in together.values()):
        raise UserError("its output does not depend on the image. Export it again, or set pretrain.output.")
    for name, values in together.items():
        if not np.isfinite(values).all():
            raise UserError("its output contains NaN or infinity. Export it again, or check pretrain.pixels.")
        if not np.array_equal(values, again[name]):
            raise UserError("its output changes from run to run. Export it in inference mode (PyTorch: model.eval()).")
        bound = _TOLERANCE * np.abs(values).max()
        if not np.array_equal(values[0], reordered[name][0]) or np.abs(values - alone[name]).max() > bound:
            why = f"I{FIXED.format(fixed)[1:]}" if fixed else "Export it in inference mode."
            raise UserError(f"its output for an image depends on the rest of the batch. {why}")


def _open(graph: onnx.ModelProto, batch_size: int) -> Graph:
    try:
        return Graph(graph, batch_size)
    except UserError:
        raise
    except Exception as error:  # ONNX Runtime raises errors of several kinds
        runtime = f"ONNX Runtime {version('onnxruntime')}"
        raise UserError(f"{runtime} cannot load the network: {summarize(error)}. {AGAIN}") from None


def _run(graph: Graph, rows: np.ndarray, fixed: int) -> Mapping[str, np.ndarray]:
    try:
        return graph(rows)
    except Exception as error:
        if fixed:
            raise UserError(FIXED.format(fixed)) from None
        size = " x ".join(map(str, rows.shape[1:]))
        raise UserError(f"ONNX Runtime cannot run it on images of {size}: {summarize(error)}. {AGAIN}") from None
