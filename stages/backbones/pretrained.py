"""What ``pretrain`` hands on: a backbone with its weights, so that no later stage needs to know where it came from.

``network.json`` says what it is made of, ``backbone.weights.h5`` holds its weights for those who train it, and
``backbone.onnx`` is the same network as a graph, from pixels on, for those who only run it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

# isort: off
from stages.compute.runtime import exact  # first: it imports the framework quietly

# isort: on
import keras
import numpy as np
import onnx

from stages.base.arrays import open_arrays
from stages.base.errors import UserError
from stages.base.files import refuse_damaged
from stages.compute import build
from stages.compute.architecture import GRAPH, NETWORK, Architecture, from_json, read_network
from stages.compute.graphs.convert import convert
from stages.compute.graphs.edit import write
from stages.compute.graphs.session import Graph

# The graph and the framework round differently: up to 1e-5 of the largest value was seen, 1e-4 in deep networks.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Pretrained:
    """A backbone that has learned.

    Attributes:
        backbone: from preprocessed images to feature maps or vectors.
        architecture: of the backbone.
        preprocessing: key of ``stages.compute.build.PREPROCESSING``.
        classes: what the source data set's classifier told apart; None where the weights came without one.
        classifier: its kernel (features, classes) and bias (classes,); None likewise.
    """

    backbone: keras.Model
    architecture: Architecture
    preprocessing: str
    classes: list[str] | None = None
    classifier: tuple[np.ndarray, np.ndarray] | None = None


def write_pretrained(folder: Path, pretrained: Pretrained) -> None:
    """Write ``network.json``, ``backbone.weights.h5``, ``backbone.onnx`` and, with a classifier, ``classifier.npz``.

    Raises:
        UserError: the backbone cannot be written as a graph, or its graph computes something else.
    """
    backbone = pretrained.backbone
    description = {
        "preprocessing": pretrained.preprocessing,
        "classes": pretrained.classes,
        "architecture": asdict(pretrained.architecture),
        "backbone": json.loads(backbone.to_json()),
    }
    (folder / NETWORK).write_text(json.dumps(description) + "\n", encoding="utf-8")
    save_weights(backbone, folder / "backbone.weights.h5")
    network = build.taps(backbone, pretrained.preprocessing, pretrained.architecture.boundaries[1:])
    graph = convert(network)
    write(graph, folder / GRAPH)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *pretrained.architecture.pixels), np.uint8)
    check_graph(graph, "backbone", pixels, network)
    if pretrained.classifier is not None:
        kernel, bias = pretrained.classifier
        np.savez(folder / "classifier.npz", kernel=kernel, bias=bias)


def save_weights(model: keras.Model, path: Path) -> None:
    """Write the weights of a model into a file NAME.weights.h5.

    Where a disk is full, HDF5 ends the process with a segmentation fault. So the room is taken by plain bytes first.

    Raises:
        OSError: there is not enough room.
    """
    megabytes = 1 + (4 * model.count_params() + 4096 * len(model.variables)) // 2**20
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(bytes(2**20))
    model.save_weights(path)


def check_graph(graph: onnx.ModelProto, stem: str, rows: np.ndarray, network: keras.Model) -> None:
    """Check that a graph gives what the framework's network gives for some ``rows``.

    Args:
        stem: name, without suffix, of the file that it is written to.

    Raises:
        UserError: they differ by more than rounding, or the network's outputs are not finite.
    """
    found = Graph(graph, len(rows))(rows)
    with exact():
        outputs = network(rows, training=False)
    for name, tensor in (outputs if isinstance(outputs, dict) else {"logits": outputs}).items():
        values = keras.ops.convert_to_numpy(tensor)
        if not np.isfinite(values).all():
            raise UserError(
                f"{stem}: expected numbers, received NaN or infinity ({name}): its training diverged, or its "
                f"weights are damaged. Lower the learning rate, or fetch the weights again."
            )
        difference, largest = np.abs(found[name] - values).max(), np.abs(values).max()
        if not difference <= TOLERANCE * largest:
            raise UserError(
                f"{stem}.onnx: expected what the network in {keras.backend.backend()} puts out ({name}, up to "
                f"{largest:.3g}), received a difference of {difference:.2g}. This is a mistake of the conversion: "
                f"please report it with pretrain.backbone and pretrain.source."
            )


def read_pretrained(folder: Path) -> Pretrained:
    """Read what ``write_pretrained`` wrote.

    Raises:
        UserError: it is missing or damaged.
    """
    content, classifier = read_network(folder), None
    with refuse_damaged(folder / NETWORK, "a network's description"):
        architecture = from_json(content["architecture"])
        backbone = keras.models.model_from_json(json.dumps(content["backbone"]))
        classes, preprocessing = content["classes"], content["preprocessing"]
    read_weights(backbone, folder / "backbone.weights.h5")
    if classes is not None:
        path = folder / "classifier.npz"
        with refuse_damaged(path, "a classifier"), open_arrays(path) as arrays:
            classifier = arrays["kernel"], arrays["bias"]
    return Pretrained(backbone, architecture, preprocessing, classes, classifier)


def read_weights(model: keras.Model, path: Path) -> None:
    """Read the weights of a model from what ``save_weights`` wrote.

    Raises:
        UserError: it is missing, damaged, or of another model.
    """
    with refuse_damaged(path, f"the weights of {model.name}"):
        model.load_weights(path)
