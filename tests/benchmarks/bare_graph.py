"""The two parts of extract's frozen pass, timed one after the other: decoding, and ONNX Runtime.

    python -m tests.benchmarks.bare_graph

Run it in a project whose extract has run, with one view of each image. First all training and validation images are
decoded as in extract, and nothing else. Then the graph runs as often as these images need, on batches in memory, in
ONNX Runtime with its default settings; the outputs are dropped. Prints one line of JSON: "images", and the seconds of
"decode" and "run".
"""

import json
import time
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np
import onnxruntime

from stages.compute.architecture import FEATURES, GRAPH, name_features, read_architecture
from stages.compute.graphs.edit import cut, read
from stages.images.contract import Contract
from stages.images.load import load_all
from stages.images.split_file import SplitFile
from stages.transfer.activations import read_description
from stages.transfer.feature_extractor import graph_batch_size
from tests.helpers.command_line import command_line

PRETRAIN, EXTRACT, SPLIT = Path("data/pretrain"), Path("data/extract"), Path("data/split")
READY = 8  # batches in memory, taken in turn


def main() -> None:
    """Time both and print their seconds."""
    command_line(__file__, __doc__).parse_args()
    description, size = read_description(EXTRACT), graph_batch_size(read_architecture(PRETRAIN))
    splits = [SplitFile(SPLIT / f"{name}.parquet") for name in ("train", "val")]
    images = sum(map(len, splits))
    batches = []
    began = time.perf_counter()
    for batch in full(
        load_all(chain.from_iterable(map(SplitFile.images, splits)), Contract(**description.contract)), size
    ):
        if len(batches) < READY:
            batches.append(batch)
    said = {"images": images, "decode": time.perf_counter() - began}
    names = [name_features(description.pooling) if name == FEATURES else name for name in description.files]
    session = onnxruntime.InferenceSession(
        cut(read(PRETRAIN / GRAPH), names).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pixels = session.get_inputs()[0].name
    session.run(None, {pixels: batches[0]})
    began = time.perf_counter()
    for number in range(-(-images // size)):
        session.run(None, {pixels: batches[number % len(batches)]})
    print(json.dumps(said | {"run": time.perf_counter() - began}))


def full(images: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Go through batches of ``size`` images, the last filled up as extract does it."""
    for batch in iter(lambda: list(islice(images, size)), []):
        yield np.stack([*batch, *batch[-1:] * (size - len(batch))])


if __name__ == "__main__":
    main()
