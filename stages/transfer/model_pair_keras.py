"""What ``finetune`` hands on, as networks of the framework: to be written there, converted, and run on a GPU."""

import json
from collections.abc import Callable
from pathlib import Path

# isort: off
from stages.compute.runtime import exact, sees_gpu, start_once  # first: it imports the framework quietly

# isort: on
import keras
import numpy as np

from stages.backbones.pretrained import check_graph, read_pretrained, read_weights, save_weights
from stages.base.files import refuse_damaged
from stages.compute import build
from stages.compute.forward import Forward
from stages.compute.graphs.convert import convert
from stages.compute.graphs.edit import write
from stages.transfer.model_pair import read_finetuned


def write_model(folder: Path, pretrain: Path, model: keras.Model, which: str, rows: np.ndarray) -> None:
    """Write a model from what the frozen part puts out to logits: ``WHICH.weights.h5`` and ``WHICH.onnx``.

    Args:
        folder: where ``write_finetuned`` wrote what it is.
        pretrain: where ``pretrain`` wrote the backbone.
        which: ``head`` or ``finetuned``.
        rows: a few inputs, for which the graph must give what the model gives.

    Raises:
        UserError: it gives something else, or the model's outputs are not finite.
    """
    save_weights(model, folder / f"{which}.weights.h5")
    graph = convert(model)
    write(graph, folder / f"{which}.onnx")
    if any(layer.compute_dtype != "float32" for layer in model._flatten_layers()):
        model = read_model(folder, pretrain, which)  # which computes in float32, as the graph does
    check_graph(graph, which, rows, model)


def read_model(folder: Path, pretrain: Path, which: str, whole: bool = False) -> keras.Model:
    """Return the model ``head`` or ``finetuned``: from what the frozen part puts out to logits.

    Args:
        folder: where ``finetune`` wrote it.
        pretrain: where ``pretrain`` wrote the backbone.
        whole: return the network from pixels to logits instead.
    """
    finetuned, pretrained = read_finetuned(folder), read_pretrained(pretrain)
    backbone, mode = pretrained.backbone, pretrained.preprocessing
    with refuse_damaged(folder / "model.json", "a model's description"):
        model = head = keras.models.model_from_json(json.dumps(finetuned.head))
    if finetuned.depth is not None and which == "finetuned":
        model = build.top(backbone, mode, finetuned.depth.layer, finetuned.pooling, head)
    read_weights(model, folder / f"{finetuned.stem(which)}.weights.h5")
    return build.network(backbone, mode, finetuned.pooling, head) if whole else model


def open_keras(file: Path, pretrain: Path) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return the model beside the graph ``file``, run by the framework on a GPU; None where it sees none."""
    start_once()
    if not sees_gpu():
        return None
    return exact()(Forward(read_model(file.parent, pretrain, file.stem)))
