"""How a project's backbone does as an ONNX graph, beside the framework's network that it was written from.

    python -m tests.benchmarks.graph [--images 64]

In the current folder, whose pretrain has run: writes the graph of its backbone once more, and prints one line of JSON:
"convert", the seconds that took; "same_bytes", whether it is the graph that pretrain wrote, byte for byte; "middle" and
"features", how far ONNX Runtime is from the framework at the boundary in the middle and at the pooled end, as a share
of the largest value; "onnxruntime" and "keras", the images a second that each puts through the whole backbone, the
framework compiled and both with batches of one size that lie in memory, the best of three passes.
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
