"""Run the frozen part once over every image and its augmented views, and keep what it puts out.

    python -m stages.extract

writes data/extract/: of the training and validation split the activations at the freeze boundary, for the thawed layers
to train from, and the features at the end of the backbone, for the head; with fresh views the pixels alone.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path

import numpy as np

from stages.base.arrays import ArrayWriter
from stages.base.folders import replace_folder
from stages.base.params import read_section, read_values
from stages.base.stage import stage
from stages.base.terminal import say, show_progress
from stages.compute.architecture import FEATURES, PIXELS, read_architecture
from stages.compute.backend import choose_backend
from stages.images.contract import Contract
from stages.images.load import load_all
from stages.images.mixup import View, make_views
from stages.images.preview import VIEWS, choose_images, write_preview
from stages.images.split_file import SplitFile
from stages.schema.compute import Compute
from stages.schema.extract import Extract
from stages.transfer.activations import Description, room, shapes, stored, write_description
from stages.transfer.depths import depths, lines
from stages.transfer.feature_extractor import Frozen, open_frozen

PARAMS = Path("params.yaml")
TRAIN = Path("data/split/train.parquet")
VAL = Path("data/split/val.parquet")
PRETRAIN = Path("data/pretrain")
EXTRACT = Path("data/extract")


@stage("extract")
def main() -> None:
    """Run the stage."""
    params = read_section(PARAMS, "extract", Extract)
    backend, runner, precision = read_values(PARAMS, "compute", Compute, "backend", "frozen", "precision")
    choose_backend(backend, precision)
    backbone = read_architecture(PRETRAIN)
    train, val = SplitFile(TRAIN), SplitFile(VAL)
    contract = Contract(backbone.pixels[0], backbone.pixels[-1], **train.reading)
    description = Description(
        depths=depths(backbone, params.freeze, params.depths),
        layers=len(backbone.layers),
        pooling=params.pooling,
        classes=train.classes,
        contract=asdict(contract),
        fresh=params.views == "fresh",
    )
    kept = shapes(description.files, backbone, params.pooling, params.precision)
    for line in lines(description, kept):
        say(line)
    rows, less = len(train) * params.stored_views + len(val), "fewer extract.views, extract.precision: float16"
    say(room(kept, rows, shutil.disk_usage(EXTRACT.parent).free, less))
    frozen = open_frozen(PRETRAIN, description.files, params.pooling, runner, precision)
    say(f"{len(train)} training images in {params.views} views; frozen part: {frozen.where}")
    with replace_folder(EXTRACT) as folder:
        write_description(folder, description)
        if description.fresh:
            draws = params.model_dump(include={"augment", "seed"})
            (folder / "fresh.json").write_text(json.dumps(draws, indent=2) + "\n", encoding="utf-8")
        for name, packed, views in (("train", train, params.stored_views), ("val", val, 1)):
            images = load_all(show_progress(packed.images(), f"{name} images", len(packed)), contract)
            drawn = make_views(images, packed.labels(), views, len(packed.classes), params.augment, params.seed)
            seen = looked_at(folder, drawn, packed, params) if name == "train" else drawn
            if len(packed):
                write_split(folder, name, frozen, seen, np.repeat(packed.labels(), views), description, params)


def write_split(
    folder: Path,
    name: str,
    frozen: Frozen,
    drawn: Iterator[View],
    labels: np.ndarray,
    description: Description,
    params: Extract,
) -> None:
    """Write NAME_labels.npy, or NAME_targets.npy where views are mixed, and what is kept of each view."""
    files = {what: ArrayWriter(folder / f"{name}_{what}.npy", len(labels)) for what in ("targets", *description.files)}
    shares = name == "train" and params.augment.mixes and not description.fresh
    if not shares:
        np.save(folder / f"{name}_labels.npy", labels)

    def batches() -> Iterator[np.ndarray]:
        for batch in iter(lambda: list(islice(drawn, frozen.batch_size)), []):
            if shares:
                files["targets"].add(np.stack([target for _, target in batch]))
            yield np.stack([view for view, _ in batch])

    for outputs in frozen.outputs(batches()):
        for what, values in outputs.items():
            files[what].add(values if what in (PIXELS, FEATURES) else stored(values, params.precision))


def looked_at(folder: Path, drawn: Iterator[View], packed: SplitFile, params: Extract) -> Iterator[View]:
    """Hand the training views on, and put those of a few images, just as they are, into seen.npz."""
    labels, sources = packed.labels(), packed.sources()
    seen: dict[int, list[View]] = {image: [] for image in choose_images(labels)}
    for place, one in enumerate(drawn):
        image, number = divmod(place, params.stored_views)
        if image in seen and number < VIEWS:
            seen[image].append(one)
        yield one
    views = list(chain.from_iterable(seen.values()))
    if params.views == "fresh":  # such as the epochs draw
        images, known = [pixels for pixels, _ in views], labels[list(seen)]
        views = list(make_views(images, known, VIEWS, len(packed.classes), params.augment, params.seed))
    write_preview(folder / "seen.npz", views, [sources[image] for image in seen], packed.classes)


if __name__ == "__main__":
    main()
