"""Run the frozen part once over every image and its augmented views, and store its outputs.

    python -m stages.extract

writes data/extract/: activations of the training and validation images at each freeze depth, which thawed layers train
from, and features at the end of the backbone, which the head trains from; with fresh views the pixels alone.
"""

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import numpy as np

from stages.base.files import write_json
from stages.base.folders import replace_folder
from stages.base.params import read_section, read_values
from stages.base.stage import stage
from stages.base.terminal import say, show_progress
from stages.compute.architecture import read_architecture
from stages.compute.backend import choose_backend
from stages.images.contract import Contract
from stages.images.load import load_all
from stages.images.mixup import View, make_views
from stages.images.preview import VIEWS, choose_images, write_preview
from stages.images.split_file import SplitFile
from stages.schema.compute import Compute
from stages.schema.extract import Extract
from stages.transfer.activations import Description, check_disk_space, describe_depths, tensor_shapes, write_description
from stages.transfer.compatibility import check_compatibility
from stages.transfer.extraction import write_outputs
from stages.transfer.feature_extractor import open_feature_extractor
from stages.transfer.freeze import resolve_depths

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
    architecture = read_architecture(PRETRAIN)
    fresh = params.views == "fresh"
    check_compatibility(architecture, pooling=params.pooling, fresh=fresh, runner=runner, precision=precision)
    train, val = SplitFile(TRAIN), SplitFile(VAL)
    contract = Contract(architecture.pixels[0], architecture.pixels[-1], **train.reading)
    description = Description(
        depths=resolve_depths(architecture, params.freeze, params.depths),
        layers=len(architecture.layers),
        pooling=params.pooling,
        classes=train.classes,
        contract=asdict(contract),
        fresh=fresh,
    )
    shapes = tensor_shapes(description.files, architecture, params.pooling, params.precision)
    for line in describe_depths(description, shapes):
        say(line)
    rows, remedy = len(train) * params.stored_views + len(val), "fewer extract.views, extract.precision: float16"
    say(check_disk_space(shapes, rows, shutil.disk_usage(EXTRACT.parent).free, remedy))
    extractor = open_feature_extractor(PRETRAIN, description.files, params.pooling, runner, precision)
    say(f"{len(train)} training images in {params.views} views; frozen part: {extractor.device}")
    with replace_folder(EXTRACT) as folder:
        write_description(folder, description)
        if description.fresh:
            write_json(folder / "fresh.json", params.model_dump(include={"augment", "seed"}))
        for name, split, count in (("train", train, params.stored_views), ("val", val, 1)):
            images = load_all(show_progress(split.images(), f"{name} images", len(split)), contract)
            views = make_views(images, split.labels(), count, len(split.classes), params.augment, params.seed)
            if name == "train":
                views = save_preview(folder, views, split, params)
            if len(split):
                targets = name == "train" and params.augment.mixes and not description.fresh
                labels = np.repeat(split.labels(), count)
                if name == "train" and not description.fresh:
                    np.save(folder / "train_images.npy", np.repeat(split.groups(), count))
                write_outputs(folder / name, extractor, views, labels, params.precision, targets=targets)


def save_preview(folder: Path, views: Iterator[View], split: SplitFile, params: Extract) -> Iterator[View]:
    """Pass the training views on, and write those of a few images to seen.npz.

    Args:
        folder: to write into.
        views: of all training images, in their order.
        split: the training images.
        params: the section ``extract``.
    """
    labels, sources = split.labels(), split.sources()
    previews: dict[int, list[View]] = {image: [] for image in choose_images(labels)}
    for place, view in enumerate(views):
        image, number = divmod(place, params.stored_views)
        if image in previews and number < VIEWS:
            previews[image].append(view)
        yield view
    shown = list(chain.from_iterable(previews.values()))
    if params.views == "fresh":  # views like those that the epochs draw
        images, known = [pixels for pixels, _ in shown], labels[list(previews)]
        shown = list(make_views(images, known, VIEWS, len(split.classes), params.augment, params.seed))
    write_preview(folder / "seen.npz", shown, [sources[image] for image in previews], split.classes)


if __name__ == "__main__":
    main()
