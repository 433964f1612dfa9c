"""Tell images unlike all that was learned: a second output of the ONNX file, the distance from the training images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from stages.base.errors import UserError
from stages.compute.architecture import FEATURES
from stages.compute.exported import DISTANCE
from stages.images.contract import Contract
from stages.images.load import load_all
from stages.images.split_file import SplitFile
from stages.measure.distance import Distance, choose_limit, fit_distance
from stages.transfer.feature_extractor import FeatureExtractor, open_feature_extractor

LOST = 0.05  # of the images of the known classes, that the limit takes for unknown
LEAST = ceil(1 / LOST) - 1  # validation images that this share can be told from


@dataclass(frozen=True)
class Detector:
    """What tells unknown images.

    Attributes:
        distance: divided by its limit: above 1, an image is unknown.
        trained: training images that it was fitted to.
        validated: validation images that the limit comes from.
    """

    distance: Distance
    trained: int
    validated: int

    @property
    def bytes(self) -> int:
        """How much its weights add to a file."""
        return 4 * (self.distance.scale.size + self.distance.kernel.size + self.distance.bias.size)

    def describe(self) -> dict[str, Any]:
        """Return what ``model.json`` says of it."""
        return {
            "output": DISTANCE,
            "rule": "above 1, the image is unlike all that was learned",
            "method": "Mahalanobis distance of normalized features of the frozen network",
            "training_images": self.trained,
            "validation_images": self.validated,
            "lost": LOST,
        }


def refuse_few(validation: int) -> None:
    """Raise UserError if there are too few validation images to choose a limit by.

    Args:
        validation: how many there are.
    """
    if validation < LEAST:
        raise UserError(
            f"export.unknown: expected {LEAST} or more validation images, of which its limit may lose "
            f"{100 * LOST:.0f} %; received {validation}. Set a larger split.val, or unknown to none."
        )


def fit_detector(pretrain: Path, pooling: str, train: SplitFile, validation: SplitFile, contract: Contract) -> Detector:
    """Return what tells unknown images by the features of the frozen network.

    Args:
        pretrain: folder that ``pretrain`` wrote.
        pooling: how feature maps become features.
        train: the training split; its images are not augmented.
        validation: the validation split.
        contract: how an image file becomes pixels.

    Raises:
        UserError: the images cannot be told apart, or there are too few validation images.
    """
    extractor = open_feature_extractor(pretrain, [FEATURES], pooling)
    known, others = (_compute_features(split, contract, extractor) for split in (train, validation))
    distance = fit_distance(known, train.labels())
    limit = choose_limit(distance(others), LOST)
    if limit is None or limit <= 0:
        raise UserError(
            "export.unknown: expected features that differ between images; received the same for all of them. Check "
            "that the backbone is pretrained, or set unknown to none."
        )
    return Detector(distance.divide(limit), len(train), len(validation))


def _compute_features(split: SplitFile, contract: Contract, extractor: FeatureExtractor) -> np.ndarray:
    return np.concatenate([found[FEATURES] for found in extractor.run_batches(_batches(split, contract, extractor))])


def _batches(split: SplitFile, contract: Contract, extractor: FeatureExtractor) -> Iterator[np.ndarray]:
    batch: list[np.ndarray] = []
    for pixels in load_all(split.images(), contract):
        batch.append(pixels)
        if len(batch) == extractor.batch_size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def add_distance(model: onnx.ModelProto, features: str, distance: Distance) -> None:
    """Add the distance to a graph, as its last output.

    Args:
        model: changed.
        features: name of the tensor (n, features).
        distance: of them.
    """
    weights = {
        "scale": distance.scale,
        "kernel": distance.kernel,
        "bias": distance.bias,
        "offset": distance.offset,
        "smallest": 1e-12,
        "ones_features": np.ones((len(distance.scale), 1)),
        "ones_directions": np.ones((distance.scale.shape[1], 1)),
    }
    arrays = {name: np.asarray(value, np.float32) for name, value in weights.items()}
    arrays |= {"one": np.array([1], np.int64), "all": np.array([-1], np.int64)}
    model.graph.initializer.extend(numpy_helper.from_array(value, _name(name)) for name, value in arrays.items())
    # Sums are products with ones, because the operators that reduce differ between versions.
    for kind, inputs, outputs, attributes in (
        ("Mul", ["features", "features"], ["squares"], {}),
        ("MatMul", ["squares", "ones_features"], ["square"], {}),
        ("Sqrt", ["square"], ["root"], {}),
        ("Max", ["root", "smallest"], ["length"], {}),
        ("Div", ["features", "length"], ["unit"], {}),
        ("MatMul", ["unit", "scale"], ["parts"], {}),
        ("Mul", ["parts", "parts"], ["part_squares"], {}),
        ("MatMul", ["part_squares", "ones_directions"], ["inside"], {}),
        ("MatMul", ["unit", "kernel"], ["products"], {}),
        ("Add", ["products", "bias"], ["by_class"], {}),
        ("TopK", ["by_class", "one"], ["nearest", "class"], {"axis": 1, "largest": 0}),
        ("Sub", ["nearest", "inside"], ["difference"], {}),
        ("Add", ["difference", "offset"], ["column"], {}),
        ("Reshape", ["column", "all"], [DISTANCE], {}),
    ):
        model.graph.node.append(_node(kind, inputs, outputs, features, attributes))
    model.graph.output.append(helper.make_tensor_value_info(DISTANCE, onnx.TensorProto.FLOAT, ["n"]))


def _node(
    kind: str, inputs: Sequence[str], outputs: Sequence[str], features: str, attributes: dict[str, Any]
) -> onnx.NodeProto:
    names = [features if name == "features" else _name(name) for name in inputs]
    return helper.make_node(kind, names, list(map(_name, outputs)), _name(f"to {outputs[0]}"), **attributes)


def _name(name: str) -> str:
    return name if name == DISTANCE else f"unknown/{name}"
