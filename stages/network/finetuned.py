"""What ``finetune`` hands on, for those who only run it: two models as graphs, from what the frozen part puts out.

``head.onnx`` goes from features to logits; ``finetuned.onnx`` from the activations at the freeze boundary, through the
thawed layers. Where nothing was thawed the second is not there, and the first is both.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stages.base.gpu import gpus
from stages.base.stage import UserError
from stages.graphs.session import Graph, has_cuda
from stages.network.architecture import read_architecture
from stages.network.frozen import batch_size
from stages.network.kept import FEATURES, Depth

MODELS = ("head", "finetuned")


@dataclass(frozen=True)
class Finetuned:
    """What the two models' numbers mean, and where the second one starts.

    Attributes:
        classes: names, in the order of the logits.
        contract: how an image file becomes pixels, as the plain fields of ``stages.images.contract.Contract``.
        pooling: how feature maps become features; see ``stages.network.build.pool``.
        depth: from which the thawed layers were trained; None where nothing was thawed.
        head: the head's architecture, as Keras writes it in JSON.
    """

    classes: list[str]
    contract: dict[str, Any]
    pooling: str
    depth: Depth | None
    head: dict[str, Any]

    def reads(self, model: str) -> str:
        """Return what ``head`` or ``finetuned`` takes: "features", or what is kept at the depth."""
        return FEATURES if model == "head" or self.depth is None else self.depth.kept


def write_finetuned(folder: Path, finetuned: Finetuned) -> None:
    """Write ``model.json``."""
    text = json.dumps(asdict(finetuned), ensure_ascii=False) + "\n"
    (folder / "model.json").write_text(text, encoding="utf-8")


def read_finetuned(folder: Path) -> Finetuned:
    """Read ``model.json``.

    Raises:
        UserError: it is not there.
    """
    try:
        content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} holds no model. Run `dvc repro finetune`, or `dvc pull`.") from None
    depth = Depth(**content["depth"]) if content["depth"] else None
    return Finetuned(**{**content, "depth": depth})


def file_of(finetuned: Finetuned, model: str) -> str:
    """Return the name that the files of ``head`` or ``finetuned`` begin with."""
    return "head" if finetuned.depth is None else model


class Rows(Protocol):
    """An array, or a file that is read like one."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: np.ndarray, /) -> np.ndarray: ...


def predict(folder: Path, pretrain: Path, inputs: Mapping[str, Rows]) -> dict[str, np.ndarray]:
    """Return the logits, float32 (n, classes), of ``head`` and ``finetuned``.

    On a GPU that ONNX Runtime cannot use, the framework computes, in float32 as well.

    Args:
        folder: where ``finetune`` wrote the models.
        pretrain: where ``pretrain`` wrote the backbone.
        inputs: what the frozen part put out for n images, by name.
    """
    finetuned, size = read_finetuned(folder), batch_size(read_architecture(pretrain))
    logits: dict[str, np.ndarray] = {}
    for model in MODELS:
        name = file_of(finetuned, model)
        if name == model:
            run = _open(folder / f"{name}.onnx", pretrain, size)
            rows = inputs[finetuned.reads(model)]
            places = (np.arange(start, min(start + size, len(rows))) for start in range(0, len(rows), size))
            logits[model] = np.concatenate([run(rows[place]) for place in places])
        else:
            logits[model] = logits[name]
    return logits


def _open(file: Path, pretrain: Path, size: int) -> Callable[[np.ndarray], np.ndarray]:
    if gpus() and not has_cuda():
        from stages.network.finetuned_keras import open_keras  # here: it imports the framework

        if run := open_keras(file, pretrain):
            return run
    graph = Graph(file, size, gpus() > 0 and has_cuda())
    return lambda rows: graph(rows)["logits"]
