"""What ``finetune`` hands on: two models as graphs, head-only and fine-tuned, from outputs of the frozen part.

``head.onnx`` goes from features to logits, ``finetuned.onnx`` from the activations at the freeze depth through the
thawed layers to logits. If nothing was thawed, there is no ``finetuned.onnx``: the head serves as both.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from stages.base.arrays import ArrayLike
from stages.base.files import read_json, refuse_damaged
from stages.base.prefetch import map_in_threads
from stages.compute.architecture import FEATURES, GRAPH, PIXELS, name_features, read_architecture
from stages.compute.devices import count_gpus
from stages.compute.graphs.edit import attach, cut, join, read
from stages.compute.graphs.session import Graph, has_cuda
from stages.transfer.feature_extractor import graph_batch_size
from stages.transfer.freeze import Depth

MODELS = ("head", "finetuned")


@dataclass(frozen=True)
class ModelPair:
    """What is needed to run the head-only and the fine-tuned model.

    Attributes:
        classes: names, in the order of the logits.
        contract: how an image file becomes pixels, as the plain fields of ``stages.images.contract.Contract``.
        pooling: how feature maps become features; see ``stages.compute.networks.pool``.
        depth: of the thawed layers; None if nothing was thawed.
        head: the head's architecture, as ``stages.compute.saving.to_config`` returns it.
        head_trained: whether the head has learned anything without the thawed layers: in its own phase, or in pretrain.
    """

    classes: list[str]
    contract: dict[str, Any]
    pooling: str
    depth: Depth | None
    head: dict[str, Any]
    head_trained: bool

    @property
    def comparable(self) -> bool:
        """Whether the fine-tuned model can gain anything over the head-only one: both exist and were trained."""
        return self.depth is not None and self.head_trained

    @property
    def measured(self) -> tuple[str, ...]:
        """The models to measure: not a head-only model with random weights, whose predictions are mere chance."""
        return MODELS if self.depth is None or self.head_trained else ("finetuned",)

    def input_of(self, model: str) -> str:
        """Return what ``head`` or ``finetuned`` takes: "features", or the tensor stored at the depth."""
        return FEATURES if model == "head" or self.depth is None else self.depth.tensor

    def stem(self, model: str) -> str:
        """Return the name, without suffix, of the files of ``head`` or ``finetuned``."""
        return "head" if self.depth is None else model


def write_model_pair(folder: Path, pair: ModelPair) -> None:
    """Write ``model.json``."""
    text = json.dumps(asdict(pair), ensure_ascii=False) + "\n"
    (folder / "model.json").write_text(text, encoding="utf-8")


def read_model_pair(folder: Path) -> ModelPair:
    """Read ``model.json``.

    Raises:
        UserError: it is missing or damaged.
    """
    content = read_json(folder / "model.json")
    with refuse_damaged(folder / "model.json", "a model's description"):
        depth = Depth(**content["depth"]) if content["depth"] else None
        return ModelPair(**{**content, "depth": depth})


def predict(folder: Path, pretrain: Path, inputs: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Return the logits, float32 (n, classes), of ``head`` and ``finetuned``.

    Args:
        folder: where ``finetune`` wrote the models.
        pretrain: where ``pretrain`` wrote the backbone.
        inputs: outputs of the frozen part for n images, by name.
    """
    pair, size = read_model_pair(folder), graph_batch_size(read_architecture(pretrain))
    logits: dict[str, np.ndarray] = {}
    for model in MODELS:
        stem = pair.stem(model)
        if stem in logits:
            logits[model] = logits[stem]
            continue
        (run, threads), rows = _open(folder / f"{stem}.onnx", pretrain, size), inputs[pair.input_of(model)]
        batches = (rows[np.arange(start, min(start + size, len(rows)))] for start in range(0, len(rows), size))
        with refuse_damaged(folder / f"{stem}.onnx", f"a model of {pair.input_of(model)}"):
            logits[model] = np.concatenate(list(map_in_threads(run, batches, threads, threads + 1)))
    return logits


def join_graphs(folder: Path, pretrain: Path) -> onnx.ModelProto:
    """Return the fine-tuned model as one graph from pixels to logits.

    Args:
        folder: where ``finetune`` wrote the models.
        pretrain: where ``pretrain`` wrote the backbone.
    """
    pair = read_model_pair(folder)
    model, tensor = read(folder / f"{pair.stem('finetuned')}.onnx"), pair.input_of("finetuned")
    if tensor == PIXELS:
        return model
    return join(cut(read(pretrain / GRAPH), [name_features(pair.pooling) if tensor == FEATURES else tensor]), model)


def join_with_features(folder: Path, pretrain: Path) -> tuple[onnx.ModelProto, str]:
    """Return the graph of ``join_graphs``, in which the frozen network also runs to its end, and what its features are.

    Args:
        folder: where ``finetune`` wrote the models.
        pretrain: where ``pretrain`` wrote the backbone.

    Returns:
        The model, and the name of the tensor (n, features), which is no output.
    """
    pair = read_model_pair(folder)
    features, tensor, backbone = name_features(pair.pooling), pair.input_of("finetuned"), read(pretrain / GRAPH)
    if tensor == FEATURES:
        return join_graphs(folder, pretrain), features
    model = read(folder / f"{pair.stem('finetuned')}.onnx")
    if tensor == PIXELS:
        (features,) = attach(model, cut(backbone, [features]))
    else:
        model = join(cut(backbone, [tensor, features]), model)
    kept = [output for output in model.graph.output if output.name != features]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return model, features


def _open(file: Path, pretrain: Path, size: int) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """Return the model in ``file``, and how many concurrent calls make best use of the machine.

    On a GPU that ONNX Runtime cannot use, the framework computes.
    """
    if count_gpus() and not has_cuda():
        from stages.transfer.model_pair_keras import open_keras  # here: it imports the framework

        if run := open_keras(file, pretrain):
            return run, 1
    with refuse_damaged(file, "a graph"):
        graph = Graph(read(file), size)
    return (lambda rows: graph(rows)["logits"]), graph.threads
