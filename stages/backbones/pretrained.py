"""What ``pretrain`` hands on: a backbone with its weights, so that later stages need not know where it came from.

``network.json`` holds its architecture, ``backbone.weights.h5`` its weights for stages that train it, and
``backbone.onnx`` is the same network as a graph, from pixels on, for stages that only run it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from stages.base.arrays import open_arrays
from stages.base.errors import UserError
from stages.base.files import refuse_damaged
from stages.compute.architecture import A_GRAPH, GRAPH, NETWORK, from_json, read_network
from stages.compute.graphs.convert import check_graph, convert
from stages.compute.graphs.edit import write
from stages.compute.networks import Backbone, build_graph_network
from stages.compute.saving import from_config, load_weights, save_weights, to_config


@dataclass(frozen=True)
class Pretrained:
    """A pretrained backbone.

    Attributes:
        backbone: with its weights.
        classes: of its classifier's outputs; None for weights without a classifier, and for a classifier whose classes
            nobody named.
        classifier: kernel (features, classes) and bias (classes,) of the classifier it was trained with; None for
            weights without one.
    """

    backbone: Backbone
    classes: list[str] | None = None
    classifier: tuple[np.ndarray, np.ndarray] | None = None


def write_pretrained(folder: Path, pretrained: Pretrained) -> None:
    """Write ``network.json``, ``backbone.weights.h5``, ``backbone.onnx`` and, with a classifier, ``classifier.npz``.

    Raises:
        UserError: the backbone cannot be written as a graph, or its graph computes something else.
    """
    backbone = pretrained.backbone
    description = {
        "preprocessing": backbone.preprocessing,
        "classes": pretrained.classes,
        "classifier": pretrained.classifier is not None,
        "architecture": asdict(backbone.architecture),
        "backbone": to_config(backbone.model),
    }
    (folder / NETWORK).write_text(json.dumps(description) + "\n", encoding="utf-8")
    save_weights(backbone.model, folder / "backbone.weights.h5")
    network = build_graph_network(backbone, backbone.architecture.dominators[1:])
    graph = convert(network)
    write(graph, folder / GRAPH)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *backbone.architecture.pixels), np.uint8)
    check_graph(graph, "backbone", pixels, network)
    if pretrained.classifier is not None:
        kernel, bias = pretrained.classifier
        np.savez(folder / "classifier.npz", kernel=kernel, bias=bias)


def read_pretrained(folder: Path) -> Pretrained:
    """Read what ``write_pretrained`` wrote.

    Raises:
        UserError: it is missing or damaged, or is a graph, without weights to train.
    """
    content, classifier = read_network(folder), None
    if content["backbone"] is None:
        raise UserError(f"{folder} holds {A_GRAPH}: expected a network of the framework, with its weights.")
    with refuse_damaged(folder / NETWORK, "a network's description"):
        backbone = Backbone(
            model=from_config(content["backbone"]),
            architecture=from_json(content["architecture"]),
            preprocessing=content["preprocessing"],
        )
        classes, has_classifier = content["classes"], content["classifier"]
    load_weights(backbone.model, folder / "backbone.weights.h5")
    if has_classifier:
        path = folder / "classifier.npz"
        with refuse_damaged(path, "a classifier"), open_arrays(path) as arrays:
            classifier = arrays["kernel"], arrays["bias"]
    return Pretrained(backbone, classes, classifier)
