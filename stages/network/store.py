"""What ``finetune`` hands on: one architecture, its classes and input contract, and the weights of both models."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from stages.base.stage import UserError
from stages.images.contract import Contract


@dataclass(frozen=True)
class Cut:
    """Where a network was cut into a part that is frozen and one that trains.

    Attributes:
        backbone: name of the backbone in the network.
        preprocessing: key of ``stages.network.build.PREPROCESSING``.
        kept: what the frozen part puts out, as a list for ``stages.network.build.bottom``: "features", after what the
            thawed part reads, where the backbone is not frozen as a whole.
        pooling: how feature maps become features.
    """

    backbone: str
    preprocessing: str
    kept: list[str]
    pooling: str


@dataclass(frozen=True)
class ModelInfo:
    """What a model's numbers mean.

    Attributes:
        classes: names, in the order of the logits.
        contract: how an image file becomes the pixels the model takes.
        cut: where it was cut for training.
    """

    classes: list[str]
    contract: Contract
    cut: Cut


def write_model(folder: Path, model: keras.Model, classes: list[str], contract: dict[str, Any], cut: Cut) -> None:
    """Write ``model.json``: architecture, classes, contract and cut. ``write_weights`` writes the weights."""
    architecture = json.loads(model.to_json())
    description = {"classes": classes, "contract": contract, "cut": asdict(cut), "architecture": architecture}
    text = json.dumps(description, ensure_ascii=False) + "\n"
    (folder / "model.json").write_text(text, encoding="utf-8")


def write_weights(folder: Path, model: keras.Model, which: str) -> None:
    """Write ``WHICH.weights.h5``; ``which`` is ``head`` or ``finetuned``."""
    model.save_weights(folder / f"{which}.weights.h5")


def read_model(folder: Path, which: str) -> tuple[keras.Model, ModelInfo]:
    """Return the ``head`` or the ``finetuned`` model: pixels 0-255 (n, size, size, channels) → logits (n, classes).

    Raises:
        UserError: it is not there.
    """
    try:
        description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} holds no model. Run `dvc repro finetune`, or `dvc pull`.") from None
    model = keras.models.model_from_json(json.dumps(description["architecture"]))
    model.load_weights(folder / f"{which}.weights.h5")
    return model, ModelInfo(description["classes"], Contract(**description["contract"]), Cut(**description["cut"]))
