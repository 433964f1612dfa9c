"""A project's backbone as an ONNX graph, compared with the framework's network that it was exported from.

    python -m tests.benchmarks.graph [--images 64]

Run it in a project whose pretrain has run. It exports the backbone again and prints one line of JSON: "convert", the
seconds of the export; "same_bytes", whether it equals the graph that pretrain wrote; "middle" and "features", the
largest difference between ONNX Runtime and the framework at the middle boundary and at the pooled features, as a share
of the largest value; "onnxruntime" and "keras", images per second through the whole backbone (the framework compiled,
both with batches of one size in memory, the best of three passes).
"""

# isort: off
from stages.compute.networks import build_frozen_part, build_graph_network
from stages.compute.runtime import start  # first: it imports the framework quietly

# isort: on
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stages.backbones.pretrained import read_pretrained
from stages.compute.architecture import FEATURES, GRAPH, name_features
from stages.compute.forward import Forward
from stages.compute.graphs.convert import convert
from stages.compute.graphs.edit import cut, read
from stages.compute.graphs.session import Graph
from stages.transfer.feature_extractor import graph_batch_size
from tests.helpers.command_line import command_line

PRETRAIN = Path("data/pretrain")
FEATURES_AVERAGE = name_features("average")


def main() -> None:
    """Write, compare and time the graph, and print what came of it."""
    parser = command_line(__file__, __doc__)
    parser.add_argument("--images", type=int, default=64)
    count = parser.parse_args().images
    start(seed=0)
    backbone, graph = read_pretrained(PRETRAIN).backbone, read(PRETRAIN / GRAPH)
    architecture = backbone.architecture
    network = build_graph_network(backbone, architecture.dominators[1:])
    began = time.perf_counter()
    written = convert(network).SerializeToString(deterministic=True)
    said: dict[str, Any] = {"convert": time.perf_counter() - began}
    said["same_bytes"] = written == (PRETRAIN / GRAPH).read_bytes()
    size, middle = graph_batch_size(architecture), architecture.dominators[len(architecture.dominators) // 2]
    pixels = np.random.default_rng(1).integers(0, 256, (-(-count // size) * size, *architecture.pixels), np.uint8)
    found = Graph(cut(graph, [middle, FEATURES_AVERAGE]), size)(pixels[:size])
    expected = Forward(build_frozen_part(backbone, [middle, FEATURES], "average"), size)(pixels[:size])
    said["middle"] = distance(found[middle], expected[middle])
    said["features"] = distance(found[FEATURES_AVERAGE], expected[FEATURES])
    said["onnxruntime"] = speed(Graph(cut(graph, [FEATURES_AVERAGE]), size), pixels, size)
    said["keras"] = speed(Forward(build_frozen_part(backbone, [FEATURES], "average"), size), pixels, size)
    print(json.dumps(said))


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, as a share of the largest value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def speed(run: Callable[[np.ndarray], Any], pixels: np.ndarray, size: int) -> float:
    """Return how many images a second ``run`` takes, the best of three passes after one batch that does not count."""
    run(pixels[:size])
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        for first in range(0, len(pixels), size):
            run(pixels[first : first + size])
        seconds.append(time.perf_counter() - began)
    return len(pixels) / min(seconds)


if __name__ == "__main__":
    main()
