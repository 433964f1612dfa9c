"""Run the frozen part once over every image and its augmented views, and store its outputs.

    python -m stages.extract [--ray]

writes data/extract/: activations of the training and validation images at each freeze depth, which thawed layers train
from, and features at the end of the backbone, which the head trains from; with fresh views the pixels alone.
"""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from stages.base.files import write_json
from stages.base.folders import replace_folder
from stages.base.params import read_section, read_values
from stages.base.stage import stage
from stages.base.terminal import say
from stages.cluster.cluster import open_cluster
from stages.compute.architecture import read_architecture
from stages.compute.backend import choose_backend
from stages.images.contract import Contract
from stages.images.example_views import draw_preview
from stages.images.preview import write_preview
from stages.images.split_file import SplitFile
from stages.schema.compute import Compute
from stages.schema.extract import Extract
from stages.transfer.activations import Description, check_disk_space, describe_depths, tensor_shapes, write_description
from stages.transfer.compatibility import check_compatibility
from stages.transfer.extraction import FrozenPass, describe_run, keep_rows, measure_free, write_views
from stages.transfer.freeze import resolve_depths
from stages.transfer.row_files import RowFiles

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
    say(check_disk_space(shapes, rows, measure_free(EXTRACT), remedy))
    frozen = FrozenPass(
        PRETRAIN, description.files, params.pooling, contract, backend, runner, precision, params.precision
    )
    training = frozen if fresh else view(frozen, params, len(train.classes))
    with open_cluster("extract") as cluster, replace_folder(EXTRACT) as folder:
        extractor = frozen.open()
        say(f"{len(train)} training images in {params.views} views; frozen part: {extractor.device}")
        write_description(folder, description)
        if fresh:
            write_json(folder / "fresh.json", params.model_dump(include={"augment", "seed"}))
        shown = draw_preview(train, contract, params.stored_views, params.augment, params.seed, fresh=fresh)
        write_preview(folder / "seen.npz", *shown, train.classes)
        mark = describe_run(training, extractor, [train, val], cluster)
        with keep_rows(EXTRACT, folder, mark) as kept:
            written = []
            for name, split, each in (("train", train, training), ("val", val, frozen)):
                if len(split):
                    files = RowFiles(kept, f"{name}_", len(split) * each.views)
                    write_views(each, extractor, split, name, files, cluster)
                    write_labels(folder, name, split, each)
                    written.append(files)
            for files in written:
                files.move(folder)


def view(frozen: FrozenPass, params: Extract, classes: int) -> FrozenPass:
    """Return the pass over the augmented views of training images.

    Args:
        frozen: the pass over the images.
        params: the section ``extract``.
        classes: how many.
    """
    return replace(frozen, augment=params.augment, views=params.stored_views, classes=classes, seed=params.seed)


def write_labels(folder: Path, name: str, split: SplitFile, frozen: FrozenPass) -> None:
    """Write NAME_labels.npy, unless the targets are stored; of augmented views also NAME_images.npy.

    Args:
        folder: to write into.
        name: of the split.
        split: the images.
        frozen: the pass over them.
    """
    if frozen.augment:
        np.save(folder / f"{name}_images.npy", np.repeat(split.groups(), frozen.views))
    if not frozen.mixes:
        np.save(folder / f"{name}_labels.npy", np.repeat(split.labels(), frozen.views))


if __name__ == "__main__":
    main()
