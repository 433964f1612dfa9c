"""Find sections of params.yaml that contradict each other."""

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.backbones.registry import BACKBONES, weights_item
from stages.base.errors import UserError
from stages.base.splits import SPLITS
from stages.formats.quantized import refuse_without_validation
from stages.pipeline.dependencies import list_outs
from stages.schema.pretrain import Pretrain
from stages.schema.split import Split
from stages.sources.read import AUTO
from stages.sources.tables import find_labels
from stages.splitting.amounts import check_amounts
from stages.splitting.correction_table import read_corrections
from stages.splitting.source import read_source, select_columns
from stages.transfer.compatibility import check_solver


def find_contradictions(
    sections: Mapping[str, Any], catalog: Sequence[str], tables: Path, pipeline: Mapping[str, Any]
) -> list[str]:
    """Return a sentence for each contradiction of valid sections to each other, to the catalog or to what is on disk.

    Args:
        sections: validated, by name.
        catalog: items that can be fetched.
        tables: folder of the tables in git.
        pipeline: the content of dvc.yaml.
    """
    found: list[str] = []
    split, pretrain, items = sections["split"], sections["pretrain"], sections["fetch"].items
    found += _refused(check_amounts, split.amounts, SPLITS)
    if pretrain.epochs:
        found += _refused(refuse_shared_images, split, Path(pretrain.source), tables)
    if Path(split.source).exists():
        found += _refused(find_labels, split.table, select_columns(split), Path(split.source), tables)
    found += _refused(read_corrections, split.corrections, tables)
    weights = [weights_item(name) for name, row in BACKBONES.items() if not row.own]
    data_sets = [item for item in catalog if "_imagenet" not in item]
    found += [
        f"fetch.items: expected items of the catalog ({', '.join(data_sets)}, or the weights of a backbone: "
        f"{weights[0]} …); received '{item}'."
        for item in items
        if item not in catalog
    ]
    for name in ("split", "pretrain"):
        found += _check_source(f"{name}.source", Path(sections[name].source), catalog, items, pipeline)
    found += _find_misplaced(split, pretrain)
    if split.val == 0 and (checkpoint := sections["finetune"].checkpoint) != "last":
        found.append(
            f"finetune.checkpoint: '{checkpoint}' needs validation images, and split.val is 0. Set it to last."
        )
    if split.val == 0 and (calibrate := sections["finetune"].calibrate) != "none":
        found.append(f"finetune.calibrate: '{calibrate}' needs validation images, and split.val is 0. Set it to none.")
    if split.val == 0 and sections["export"].quantize:
        found += _refused(refuse_without_validation, 0)
    if split.val == 0 and (unknown := sections["export"].unknown) != "none":
        found.append(f"export.unknown: '{unknown}' needs validation images, and split.val is 0. Set it to none.")
    extract = sections["extract"]
    found += _refused(check_solver, sections["finetune"].head.solver, extract.views == "fresh", extract.augment.mixes)
    if sections["finetune"].head.output == "sigmoid" and isinstance(split.classes, list) and len(split.classes) != 2:
        found.append(f"finetune.head.output: expected softmax for {len(split.classes)} classes; received sigmoid.")
    return found


def _check_source(
    key: str, source: Path, catalog: Sequence[str], items: Sequence[str], pipeline: Mapping[str, Any]
) -> list[str]:
    """Return what is wrong with the path of a data set or model: at most one sentence."""
    if source.parts[:2] == ("data", "fetch") and len(source.parts) == 3:
        if source.name not in catalog:
            return [f"{key}: there is no catalog item {source.name}.{_suggest(source, catalog)}"]
        if source.name not in items:
            return [f"{key}: {source} is fetched only when fetch.items lists {source.name}."]
        return []
    path = Path(os.path.relpath(source))
    for stage, entry in pipeline["stages"].items():
        for out in map(Path, list_outs(entry)):
            if path == out or path in out.parents or out in path.parents:
                return [
                    f"{key}: expected data/fetch/ITEM or data of your own; received {source}, and {stage} writes "
                    f"{out}. Copy what you need to data/own/, and set {key} to the copy."
                ]
    if not source.exists() and not source.with_name(f"{source.name}.dvc").exists():
        return [f"{key}: there is no {source}.{_suggest(source, catalog) or ' Put it there, or run `dvc pull`.'}"]
    return []


def find_local_sources(sections: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each source outside the repository, which other machines do not have.

    Args:
        sections: the valid sections, by name.
    """
    paths = {f"{name}.source": sections[name].source for name in ("split", "pretrain") if name in sections}
    return [
        f"{key}: {path} is outside the repository, so nobody else can repeat the experiment. To share it, "
        f"move the data into data/own and run `dvc add`."
        for key, path in paths.items()
        if os.path.isabs(path) or os.path.normpath(path).split(os.sep)[0] == os.pardir
    ]


def _suggest(source: Path, catalog: Sequence[str]) -> str:
    """Name the data set, or the weights, that was probably meant; empty if none comes close."""
    if len(source.parts) == 1 and (Path("data/own") / source).exists():
        return f" Did you mean data/own/{source}?"
    if source.name == "imagenet":
        return " Expected the weights of a backbone: data/fetch/BACKBONE_imagenet, with that item in fetch.items."
    likely = [f"{source.name}_imagenet", *difflib.get_close_matches(source.name, catalog, n=1)]
    close = [item for item in likely if item in catalog]
    return f" Did you mean data/fetch/{close[0]}?" if close and source.parts[:2] != ("data", "own") else ""


def _refused(check: Callable[..., object], *values: Any) -> list[str]:
    try:
        check(*values)
    except UserError as error:
        return [str(error)]
    return []


def refuse_shared_images(split: Split, learned: Path, tables: Path) -> None:
    """Raise UserError where pretrain would learn images that split may put into the test split.

    Links are resolved; extract_test finds copies, because it compares pixels. A data set with a test part may serve
    both: pretrain learns its training part. Not so where split.parts or a table names the parts, which pretrain does
    not read.

    Args:
        split: its section.
        learned: pretrain.source.
        tables: folder of the tables in git.
    """
    source = Path(split.source)
    places = [path.resolve() for path in (source, learned)]
    if not any(one == other or one in other.parents for one, other in (places, places[::-1])):
        return
    plain = split.parts == AUTO and not split.table  # pretrain would find the same parts
    if plain and source.exists() and any(sample.part == "test" for sample in read_source(split, tables).samples):
        return
    raise UserError(
        f"pretrain.source: {learned} and split.source: {source} contain the same images, so pretrain would learn "
        f"test images. Expected another data set, a weights file, or pretrain.epochs: 0."
    )


def _find_misplaced(split: Split, pretrain: Pretrain) -> list[str]:
    """Return a sentence for each source that holds weights: instead of a data set, or of another backbone."""
    owners = {f"data/fetch/{weights_item(name)}": name for name, row in BACKBONES.items() if not row.own}
    found, backbone = [], pretrain.backbone
    if split.source in owners:
        found.append(f"split.source: {split.source} holds weights. Expected a data set.")
    if (owner := owners.get(pretrain.source, backbone)) != backbone:
        has_weights = backbone in BACKBONES and not BACKBONES[backbone].own
        right = f", or pretrain.source: data/fetch/{weights_item(backbone)}" if has_weights else ""
        found.append(
            f"pretrain.source: {pretrain.source} holds the weights of {owner}, and pretrain.backbone is {backbone}. "
            f"Set pretrain.backbone: {owner}{right}."
        )
    return found
