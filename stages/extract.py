"""Run the frozen part once over every image and its augmented views, and keep what it puts out.

    python -m stages.extract

writes data/extract/: for the training and validation split the activations at the freeze boundary, from which the
thawed layers train, and the features at the end of the backbone, from which the head trains.
"""

# isort: off
from stages.network.runtime import start  # first: it imports the framework quietly

# isort: on
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np

from stages.base.params import read_section
from stages.base.stage import UserError, progress, say, stage, whole
from stages.images.contract import Contract
from stages.images.load import load_all
from stages.images.packed import Packed
from stages.images.views import view
from stages.network.build import bottom
from stages.network.freeze import boundary
from stages.network.kept import Description, Rows, write_description
from stages.network.pretrained import read_pretrained
from stages.schema.extract import Extract

PARAMS = Path("params.yaml")
TRAIN = Path("data/split/train.parquet")
VAL = Path("data/split/val.parquet")
PRETRAIN = Path("data/pretrain")
EXTRACT = Path("data/extract")


@stage("extract")
def main() -> None:
    """Run the stage."""
    params = read_section(PARAMS, "extract", Extract)
    start(params.seed)
    pretrained = read_pretrained(PRETRAIN)
    backbone = pretrained.backbone
    cut = boundary(backbone, params.freeze)
    network = bottom(backbone, pretrained.preprocessing, cut.layer, params.pooling)
    splits = {"train": (Packed(TRAIN), params.views), "val": (Packed(VAL), 1)}
    train = splits["train"][0]
    reading: dict[str, Any] = train.reading
    contract = Contract(*backbone.input_shape[-2:], **reading)
    say(
        f"{cut.frozen} of {len(backbone.layers)} layers frozen, kept up to {cut.layer or 'the pixels'} "
        f"{network.output_shape[0][1:]}; {len(train)} training images in {params.views} views"
    )
    description = Description(
        cut.frozen, len(backbone.layers), cut.layer, params.pooling, train.classes, asdict(contract)
    )
    with whole(EXTRACT) as folder:
        write_description(folder, description)
        for name, (packed, views) in splits.items():
            if len(packed):
                images = progress(packed.images(), f"{name} images", len(packed))
                pixels = pixels_of(images, contract, views, params)
                write_split(folder, name, network, pixels, np.repeat(packed.labels(), views), description, params)


def pixels_of(images: Iterable[bytes], contract: Contract, views: int, params: Extract) -> Iterator[np.ndarray]:
    """Go through every view of every image: uint8 (size, size, channels)."""
    for pixels in load_all(images, contract):
        for number in range(views):
            yield view(pixels, number, params.augment, params.seed)


def write_split(
    folder: Path,
    name: str,
    network: keras.Model,
    pixels: Iterator[np.ndarray],
    labels: np.ndarray,
    description: Description,
    params: Extract,
) -> None:
    """Write NAME_labels.npy, NAME_features.npy and, where layers are thawed, NAME_activations.npy."""
    np.save(folder / f"{name}_labels.npy", labels)
    features = Rows(folder / f"{name}_features.npy", len(labels))
    activations = Rows(folder / f"{name}_activations.npy", len(labels))
    while batch := list(islice(pixels, params.batch_size)):
        # The last batch is filled up: another shape would be compiled anew.
        full = np.stack(batch + batch[-1:] * (params.batch_size - len(batch)))
        kept, pooled = (np.asarray(output)[: len(batch)] for output in network.predict_on_batch(full))
        features.add(pooled)
        if description.frozen < description.layers:
            activations.add(stored(kept, params.precision) if description.layer else kept)


def stored(values: np.ndarray, precision: str) -> np.ndarray:
    """Return activations in the precision they are kept in."""
    with np.errstate(over="ignore"):
        rounded = values.astype(precision)
    if not np.isfinite(rounded).all():
        raise UserError(
            f"extract.precision: {precision} cannot hold activations of {np.abs(values).max():.3g}. Set it to float32."
        )
    return rounded


if __name__ == "__main__":
    main()
