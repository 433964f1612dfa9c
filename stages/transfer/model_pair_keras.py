"""The head-only and the fine-tuned model as networks of the framework: to write, to convert, and to run on a GPU."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from stages.backbones.pretrained import read_pretrained
from stages.base.files import refuse_damaged
from stages.compute.forward import Forward
from stages.compute.graphs.convert import check_graph, convert
from stages.compute.graphs.edit import write
from stages.compute.networks import Model, build_network, build_trainable_part
from stages.compute.runtime import check_gpu, disable_tf32, ensure_started
from stages.compute.saving import from_config, load_weights, save_weights
from stages.transfer.model_pair import read_model_pair


def write_model(folder: Path, pretrain: Path, model: Model, which: str, rows: np.ndarray) -> None:
    """Write a model, from outputs of the frozen part to logits: ``WHICH.weights.h5`` and ``WHICH.onnx``.

    Args:
        folder: where ``write_model_pair`` wrote its description.
        pretrain: folder that ``pretrain`` wrote.
        model: the network.
        which: ``head`` or ``finetuned``.
        rows: a few inputs, on which graph and model are compared.

    Raises:
        UserError: they differ, or the model's outputs are not finite.
    """
    save_weights(model, folder / f"{which}.weights.h5")
    graph = convert(model)
    write(graph, folder / f"{which}.onnx")
    if any(layer.compute_dtype != "float32" for layer in model._flatten_layers()):
        model = read_model(folder, pretrain, which)  # which computes in float32, as the graph does
    check_graph(graph, which, rows, model)


def read_model(folder: Path, pretrain: Path, which: str, from_pixels: bool = False) -> Model:
    """Return the model ``head`` or ``finetuned``, from outputs of the frozen part to logits.

    Args:
        folder: that ``finetune`` wrote.
        pretrain: folder that ``pretrain`` wrote.
        which: ``head`` or ``finetuned``.
        from_pixels: return the network from pixels to logits instead.
    """
    pair = read_model_pair(folder)
    with refuse_damaged(folder / "model.json", "a model's description"):
        model = head = from_config(pair.head)
    thawed = pair.depth if which == "finetuned" else None
    backbone = read_pretrained(pretrain).backbone if thawed or from_pixels else None
    if thawed and backbone:
        model = build_trainable_part(backbone, thawed.layer, pair.pooling, head)
    load_weights(model, folder / f"{pair.stem(which)}.weights.h5")
    return build_network(backbone, pair.pooling, head) if backbone and from_pixels else model


def divide_logits(folder: Path, pretrain: Path, which: str, divisor: float, rows: np.ndarray) -> None:
    """Write a model again, with the weights and bias of its classifier divided by a number, and so its logits.

    Args:
        folder: where ``write_model`` wrote it.
        pretrain: folder that ``pretrain`` wrote.
        which: ``head`` or ``finetuned``.
        divisor: above 0.
        rows: a few inputs, on which graph and model are compared.
    """
    model = read_model(folder, pretrain, which)
    classifier = (model if which == "head" else model.get_layer("head")).get_layer("classifier")
    wide = [values.astype(np.float64) / divisor for values in classifier.get_weights()]
    classifier.set_weights([values.astype(np.float32) for values in wide])
    write_model(folder, pretrain, model, which, rows)


def open_keras(file: Path, pretrain: Path) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return the model beside the graph ``file``, run by the framework on a GPU; None if it sees none."""
    ensure_started()
    if not check_gpu():
        return None
    return disable_tf32()(Forward(read_model(file.parent, pretrain, file.stem)))
