"""What ``finetune`` hands on, as networks of the framework: to be written there, converted, and run on a GPU."""

import json
from collections.abc import Callable
from pathlib import Path

# isort: off
from stages.network.runtime import on_gpu, start_exact  # first: it imports the framework quietly

# isort: on
import keras
import numpy as np

from stages.base.stage import UserError
from stages.graphs.convert import convert
from stages.graphs.edit import write
from stages.network import build
from stages.network.finetuned import file_of, read_finetuned
from stages.network.forward import Forward
from stages.network.pretrained import check_graph, read_pretrained


def write_model(folder: Path, model: keras.Model, which: str, rows: np.ndarray) -> None:
    """Write a model from what the frozen part puts out to logits: ``WHICH.weights.h5`` and ``WHICH.onnx``.

    Args:
        which: ``head`` or ``finetuned``.
        rows: a few inputs, for which the graph must give what the model gives.

    Raises:
        UserError: it gives something else, or the model gives no numbers.
    """
    expected = keras.ops.convert_to_numpy(model(rows, training=False))
    if not np.isfinite(expected).all():
        raise UserError(f"{which}: its training diverged: the model gives NaN. Lower its learning_rate.")
    model.save_weights(folder / f"{which}.weights.h5")
    write(convert(model), folder / f"{which}.onnx")
    if all(layer.compute_dtype == "float32" for layer in model._flatten_layers()):  # in bfloat16 it gives 3 digits
        check_graph(folder / f"{which}.onnx", rows, {"logits": expected})


def read_model(folder: Path, pretrain: Path, which: str) -> tuple[keras.Model, keras.Model]:
    """Return the model ``head`` or ``finetuned`` from what the frozen part puts out to logits, and whole from pixels.

    Args:
        folder: where ``finetune`` wrote it.
        pretrain: where ``pretrain`` wrote the backbone.
    """
    finetuned, pretrained = read_finetuned(folder), read_pretrained(pretrain)
    backbone, mode = pretrained.backbone, pretrained.preprocessing
    model = head = keras.models.model_from_json(json.dumps(finetuned.head))
    if finetuned.depth is not None and which == "finetuned":
        model = build.top(backbone, mode, finetuned.depth.layer, finetuned.pooling, head)
    model.load_weights(folder / f"{file_of(finetuned, which)}.weights.h5")
    return model, build.network(backbone, mode, finetuned.pooling, head)


def open_keras(file: Path, pretrain: Path) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return the model beside the graph ``file``, run by the framework on a GPU; None where it sees none."""
    start_exact()
    if not on_gpu():
        return None
    forward = Forward(read_model(file.parent, pretrain, file.stem)[0])
    return lambda rows: np.asarray(forward(rows))
