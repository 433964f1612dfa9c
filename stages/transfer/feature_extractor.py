"""Run the frozen part of a backbone over images: as a graph in ONNX Runtime, or in the framework.

On a CPU, ONNX Runtime is several times as fast and starts at once. On a GPU the framework computes: it is installed
anyway, and ONNX Runtime's package for GPUs usually is not.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.base.files import refuse_damaged
from stages.base.prefetch import map_in_threads, prefetch
from stages.compute.architecture import FEATURES, GRAPH, PIXELS, Architecture, name_features, read_architecture
from stages.compute.devices import count_gpus, fit_batch_size
from stages.compute.graphs.edit import cut, read
from stages.compute.graphs.session import Graph, has_cuda

# Images at a time: more is not faster on a CPU. Fewer large images, so that their largest tensor takes 32 MiB.
_MOST, _BYTES = 16, 2**25


@dataclass(frozen=True)
class FeatureExtractor:
    """The frozen part of a backbone, ready to run.

    Attributes:
        run: from uint8 pixels (n, side, side, channels) to arrays (n, ...) by name.
        batch_size: images at a time.
        threads: how many concurrent calls make best use of the machine.
        device: what computes, in words.
    """

    run: Callable[[np.ndarray], Mapping[str, Any]]
    batch_size: int
    threads: int
    device: str

    def run_batches(self, batches: Iterable[np.ndarray]) -> Iterator[Mapping[str, Any]]:
        """Yield the outputs of ``run`` for ``batches``, in their order; the next batches are prefetched."""
        return map_in_threads(self.run, prefetch(batches, 2), self.threads, self.threads + 1)


def open_feature_extractor(
    pretrain: Path, outputs: Sequence[str], pooling: str, runner: str | None = None, precision: str = "float32"
) -> FeatureExtractor:
    """Return the frozen part of the backbone that ``pretrain`` wrote.

    Args:
        pretrain: folder that ``pretrain`` wrote.
        outputs: names of layers or operations; "features" for the pooled output of the backbone; "pixels" for the
            pixels themselves.
        pooling: see ``stages.compute.networks.pool``.
        runner: "auto", "onnxruntime" or "keras", as ``compute.frozen``, for images to train from. None: for measuring,
            in float32 and with the graph that is deployed. If there is a GPU that ONNX Runtime cannot use, the
            framework computes instead: the CPU would take too long.
        precision: float32, or bfloat16, which only the framework supports.
    """
    architecture = read_architecture(pretrain)
    required = runner == "keras" or precision != "float32"
    for_gpu = count_gpus() > 0 and (runner == "auto" or (runner is None and not has_cuda()))
    for_gpu = for_gpu and architecture.trainable  # the framework has no other networks
    names = [name for name in outputs if name != PIXELS]
    if not names:
        return FeatureExtractor(lambda pixels: {PIXELS: pixels}, _MOST, 1, "not needed")
    if required or for_gpu:
        from stages.transfer.feature_extractor_keras import open_keras  # here: it imports the framework

        if extractor := open_keras(
            pretrain, outputs, pooling, precision=precision, measuring=runner is None, optional=not required
        ):
            return extractor
    named = {name_features(pooling) if name == FEATURES else name: name for name in names}
    with refuse_damaged(pretrain / GRAPH, f"a graph with the outputs {', '.join(named)}"):
        graph = Graph(cut(read(pretrain / GRAPH), list(named)), graph_batch_size(architecture))

    def run(pixels: np.ndarray) -> dict[str, np.ndarray]:
        found = {named[name]: values for name, values in graph(pixels).items()}
        return found | ({PIXELS: pixels} if PIXELS in outputs else {})

    return FeatureExtractor(run, graph.batch_size, graph.threads, f"ONNX Runtime on the {graph.device}")


def graph_batch_size(architecture: Architecture) -> int:
    """Return how many images a graph of the backbone takes at a time."""
    largest = max(math.prod(layer.shape) for layer in architecture.operations)
    return fit_batch_size(max(largest, architecture.largest), _MOST, _BYTES)
