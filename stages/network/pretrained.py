"""What ``pretrain`` hands on: a backbone with its weights, so that no later stage needs to know where it came from."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from stages.base.stage import UserError


@dataclass(frozen=True)
class Pretrained:
    """A backbone that has learned.

    Attributes:
        backbone: from preprocessed images to feature maps or vectors.
        preprocessing: key of ``stages.network.build.PREPROCESSING``.
        classes: what the source data set's classifier told apart; None where the weights came without one.
        classifier: its kernel (features, classes) and bias (classes,); None likewise.
        blocks: names of the backbone's blocks, each with the first of its layers, from the input on.
    """

    backbone: keras.Model
    preprocessing: str
    classes: list[str] | None = None
    classifier: tuple[np.ndarray, np.ndarray] | None = None
    blocks: dict[str, str] = field(default_factory=dict)


def write_pretrained(folder: Path, pretrained: Pretrained) -> None:
    """Write ``network.json``, ``backbone.weights.h5`` and, where there is a classifier, ``classifier.npz``."""
    description = {
        "preprocessing": pretrained.preprocessing,
        "classes": pretrained.classes,
        "blocks": pretrained.blocks,
        "backbone": json.loads(pretrained.backbone.to_json()),
    }
    (folder / "network.json").write_text(json.dumps(description) + "\n", encoding="utf-8")
    pretrained.backbone.save_weights(folder / "backbone.weights.h5")
    if pretrained.classifier is not None:
        kernel, bias = pretrained.classifier
        np.savez(folder / "classifier.npz", kernel=kernel, bias=bias)


def read_pretrained(folder: Path) -> Pretrained:
    """Read what ``write_pretrained`` wrote.

    Raises:
        UserError: it is not there.
    """
    try:
        description = json.loads((folder / "network.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} holds no backbone. Run `dvc repro pretrain`, or `dvc pull`.") from None
    backbone = keras.models.model_from_json(json.dumps(description["backbone"]))
    backbone.load_weights(folder / "backbone.weights.h5")
    classifier = None
    if description["classes"] is not None:
        with np.load(folder / "classifier.npz", allow_pickle=False) as arrays:
            classifier = arrays["kernel"], arrays["bias"]
    return Pretrained(backbone, description["preprocessing"], description["classes"], classifier, description["blocks"])
