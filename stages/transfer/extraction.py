"""Run the frozen part over views of images, and write its outputs."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from stages.base.arrays import ArrayWriter
from stages.compute.architecture import FEATURES, PIXELS
from stages.images.mixup import View
from stages.transfer.activations import cast
from stages.transfer.feature_extractor import FeatureExtractor


def write_outputs(
    stem: Path, extractor: FeatureExtractor, views: Iterator[View], labels: np.ndarray, precision: str, *, targets: bool
) -> None:
    """Write STEM_NAME.npy for each output of the frozen part, and STEM_labels.npy or STEM_targets.npy.

    Args:
        stem: of the files.
        extractor: the frozen part.
        views: to run it on.
        labels: of the views.
        precision: dtype of the activations.
        targets: whether views are mixed, so that their targets are stored instead of labels.
    """
    files: dict[str, ArrayWriter] = {}

    def add(name: str, values: np.ndarray) -> None:
        files.setdefault(name, ArrayWriter(stem.with_name(f"{stem.name}_{name}.npy"), len(labels))).add(values)

    def batches() -> Iterator[np.ndarray]:
        for batch in iter(lambda: list(islice(views, extractor.batch_size)), []):
            if targets:
                add("targets", np.stack([target for _, target in batch]))
            yield np.stack([pixels for pixels, _ in batch])

    if not targets:
        np.save(stem.with_name(f"{stem.name}_labels.npy"), labels)
    for outputs in extractor.run_batches(batches()):
        for name, values in outputs.items():
            add(name, values if name in (PIXELS, FEATURES) else cast(values, precision))
