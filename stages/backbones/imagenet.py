"""Published classifiers: the networks of ``keras.applications`` as they were trained, for ImageNet's 1,000 classes."""

from pathlib import Path
from typing import Any

import numpy as np

from stages.backbones.registry import BACKBONES, classifier_item
from stages.base.errors import UserError
from stages.base.files import read_json, refuse_damaged
from stages.images.contract import Contract

CLASSES = "imagenet_classes"  # the catalog item with the names
CLASS_INDEX = "imagenet_class_index.json"  # its file: {"0": ["n01440764", "tench"], …}


class PublishedClassifier:
    """A published classifier, with the interface of an exported model (``stages.formats.runner.Runner``).

    Attributes:
        classes: names, in the order of the probabilities.
        contract: how an image file becomes pixels.
    """

    def __init__(self, name: str, fetched: Path, weights: Path | None = None) -> None:
        """Build the network, and load its weights and the names of its classes.

        Args:
            name: of a backbone with published weights.
            fetched: the folder of catalog items.
            weights: a file of weights with classifier; the fetched one by default.

        Raises:
            UserError: a file is missing or damaged.
        """
        index = fetched / CLASSES / CLASS_INDEX
        found = [weights] if weights else sorted((fetched / classifier_item(name)).glob("*.h5"))
        wanted = {classifier_item(name): found, CLASSES: [index]}
        if missing := [item for item, files in wanted.items() if not files or not files[0].is_file()]:
            raise _explain_missing(missing, weights)
        self.classes = read_class_index(index)
        spec = BACKBONES[name]
        self.contract = Contract(spec.native, spec.channels, "photo", "light_on_dark", "stretch")
        self._network = spec.build_classifier(found[0])

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Return the probability of each class, float32 (n, 1000).

        Args:
            pixels: uint8 (n, size, size, 3), as ``stages.images.load`` makes them with the contract.
        """
        return np.asarray(self._network.predict_on_batch(pixels))


def read_class_index(path: Path) -> list[str]:
    """Return the names of ImageNet's classes, with spaces for underscores, in the order of a classifier's outputs.

    Raises:
        UserError: the file is damaged, or is not ImageNet's class index.
    """
    content: dict[str, Any] = read_json(path)
    with refuse_damaged(path, "ImageNet's class index"):
        return [content[str(place)][1].replace("_", " ") for place in range(1000)]


def _explain_missing(items: list[str], weights: Path | None) -> UserError:
    if weights and not weights.is_file():
        return UserError(f"--weights: there is no file {weights}.")
    fetch = " ".join(f"fetch@{item}" for item in items)
    own = "" if items == [CLASSES] else ", or pass a weights file that includes the classifier: --weights FILE"
    return UserError(f"add {', '.join(items)} to fetch.items and run `dvc repro {fetch}`{own}.")
