"""List all layers of the network: what is frozen, what each phase trains, and the disk space of activations.

    python -m stages layers                     as params.yaml says
    python -m stages layers --freeze block5     with another extract.freeze: a block, a layer, a count, all or none

Nothing is trained or loaded, so it also works before `dvc repro`.
"""

import argparse
from pathlib import Path

from stages.backbones.build import build_backbone
from stages.base.files import read_json
from stages.base.params import read_section, read_values
from stages.base.stage import stage
from stages.base.terminal import read_width
from stages.compute.backend import choose_backend
from stages.images.split_file import SplitFile
from stages.schema.compute import Compute
from stages.schema.extract import Extract
from stages.schema.finetune import Finetune
from stages.schema.pretrain import Pretrain
from stages.schema.split import Split
from stages.splitting.source import read_source
from stages.transfer.compatibility import check_compatibility
from stages.transfer.costs import Images, describe_disk_usage
from stages.transfer.freeze import AS_EXTRACTED, parse_freeze, plan_unfreezing, resolve_depths, select_depth

PARAMS = Path("params.yaml")
TABLES = Path("data/tables")
SUMMARY = Path("data/split/summary.json")
TRAIN = Path("data/split/train.parquet")


@stage("layers")
def main() -> None:
    """Run the command."""
    given = build_parser().parse_args().freeze
    pretrain = read_section(PARAMS, "pretrain", Pretrain)
    extract = read_section(PARAMS, "extract", Extract)
    finetune, split = read_section(PARAMS, "finetune", Finetune), read_section(PARAMS, "split", Split)
    head, thawed = finetune.head, finetune.thawed
    choose_backend(*read_values(PARAMS, "compute", Compute, "backend"))
    from stages.transfer.network_summary import (  # the framework
        format_layers,
        format_totals,
        summarize_network,
        summarize_states,
    )

    train_batchnorm = thawed.batchnorm == "train"
    architecture, pretrained = build_backbone(pretrain)
    backbone = pretrained.backbone if pretrained else None
    check_compatibility(architecture, pooling=extract.pooling, initial=head.initial)
    depths = resolve_depths(architecture, extract.freeze if given is None else parse_freeze(given), extract.depths)
    freeze = AS_EXTRACTED if given is not None else thawed.freeze
    frozen = select_depth(architecture, depths, freeze).frozen
    if given is None:
        frozen = min(plan_unfreezing(architecture, thawed.plan, frozen).values())
    classes = count_classes(split)
    summary = summarize_network(architecture, backbone, extract.pooling, head, classes, frozen, train_batchnorm)
    for line in format_layers(architecture, frozen, train_batchnorm, summary, read_width()):
        print(line)
    key = "finetune.thawed.freeze"
    if freeze == AS_EXTRACTED:
        key, freeze = "extract.freeze", extract.freeze if given is None else given
    print(f"\n{pretrain.network} at {pretrain.image_size} px, {key}: {freeze}")
    images = count_images(extract, split, classes)
    lines = [
        *summarize_states(architecture, frozen, train_batchnorm),
        *format_totals(summary, ("logistic" if head.solver == "logistic" else head.epochs, thawed.epochs)),
        *describe_disk_usage(architecture, depths, extract.pooling, extract.precision, images),
    ]
    print("\n".join(lines))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages layers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--freeze", metavar="DEPTH", help="instead of extract.freeze in params.yaml")
    return parser


def count_classes(split: Split) -> int | None:
    """Count the classes in params.yaml, in the data set, or in the last split; None if unknown."""
    if isinstance(split.classes, list):
        return len(split.classes)
    if Path(split.source).exists():
        return len(read_source(split, TABLES).classes)
    return len(SplitFile(TRAIN).classes) if TRAIN.is_file() else None


def count_images(extract: Extract, split: Split, classes: int | None) -> Images:
    """Count the images: as params.yaml says, or else those that were split last."""
    views = 0 if isinstance(extract.views, str) else extract.views
    last = read_json(SUMMARY, "images")["images"] if SUMMARY.is_file() else None
    if isinstance(split.train, int) and isinstance(split.val, int) and classes:
        train, val, test = split.train * classes, split.val * classes, None
        if isinstance(split.test, int):
            test = split.test * classes
        elif last and (last["train"], last["val"]) == (train, val):
            test = last["test"]
        return Images(train, val, test, views, "as params.yaml says")
    if last:
        return Images(last["train"], last["val"], last["test"], views, "as in the last split")
    return Images(None, None, None, views, "unknown until `dvc repro split`")


if __name__ == "__main__":
    main()
