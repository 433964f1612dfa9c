"""Show the backbone's layers, which of them are frozen, and how much disk the activations take.

    python -m stages layers                     as params.yaml says
    python -m stages layers --freeze block5     with another extract.freeze: a block, a layer, a count, all or none

Nothing is trained or loaded, so it also works before `dvc repro`.
"""

import argparse
from pathlib import Path

from stages.backbones.build import describe_backbone
from stages.base.files import read_json
from stages.base.params import read_section, read_values
from stages.base.stage import stage
from stages.compute.backend import choose_backend
from stages.schema.compute import Compute
from stages.schema.extract import Extract
from stages.schema.finetune import Finetune
from stages.schema.pretrain import Pretrain
from stages.schema.split import Split
from stages.splitting.source import read_source
from stages.transfer.costs import Images, describe_disk_usage, format_layers, summarize_states
from stages.transfer.freeze import AS_EXTRACTED, parse_freeze, resolve_depths, select_depth

PARAMS = Path("params.yaml")
TABLES = Path("data/tables")
SUMMARY = Path("data/split/summary.json")


@stage("layers")
def main() -> None:
    """Run the command."""
    given = build_parser().parse_args().freeze
    pretrain = read_section(PARAMS, "pretrain", Pretrain)
    extract = read_section(PARAMS, "extract", Extract)
    thawed = read_section(PARAMS, "finetune", Finetune).thawed
    choose_backend(*read_values(PARAMS, "compute", Compute, "backend"))
    train_batchnorm = thawed.batchnorm == "train"
    architecture = describe_backbone(pretrain)
    depths = resolve_depths(architecture, extract.freeze if given is None else parse_freeze(given), extract.depths)
    freeze = AS_EXTRACTED if given is not None else thawed.freeze
    depth = select_depth(architecture, depths, freeze)
    for line in format_layers(architecture, depth.frozen, train_batchnorm):
        print(line)
    key = "finetune.thawed.freeze"
    if freeze == AS_EXTRACTED:
        key, freeze = "extract.freeze", extract.freeze if given is None else given
    print(f"\n{pretrain.backbone} at {pretrain.image_size} px, {key}: {freeze}")
    for line in summarize_states(architecture, depth.frozen, train_batchnorm):
        print(line)
    for line in describe_disk_usage(architecture, depths, extract.pooling, extract.precision, count_images(extract)):
        print(line)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages layers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--freeze", metavar="DEPTH", help="instead of extract.freeze in params.yaml")
    return parser


def count_images(extract: Extract) -> Images:
    """Count the images: as params.yaml says, or else those that were split last."""
    views = 0 if isinstance(extract.views, str) else extract.views
    split = read_section(PARAMS, "split", Split)
    listed, source = isinstance(split.classes, list), Path(split.source)
    last = read_json(SUMMARY, "images")["images"] if SUMMARY.is_file() else None
    if isinstance(split.train, int) and isinstance(split.val, int) and (listed or source.exists()):
        classes = len(split.classes if listed else read_source(split, TABLES).classes)
        train, val, test = split.train * classes, split.val * classes, None
        if isinstance(split.test, int):
            test = split.test * classes
        elif last and (last["train"], last["val"]) == (train, val):
            test = last["test"]
        return Images(train, val, test, views, "by params.yaml")
    if last:
        return Images(last["train"], last["val"], last["test"], views, "as split last")
    return Images(None, None, None, views, "the number of images is unknown until `dvc repro split`")


if __name__ == "__main__":
    main()
