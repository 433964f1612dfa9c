"""Check params.yaml, and dvc.yaml against the code, before anything runs.

    python -m stages check              report what is wrong
    python -m stages check --data       also hash data/ and DVC's cache, which reads all of them
    python -m stages check --write      first write what follows from the code: the modules, params and libraries of
                                        each stage into dvc.yaml, the pinned versions into stages/versions.yaml

Each stage checks its own section when it starts. This command checks all sections at once, resolves extract.freeze and
extract.depths against the backbone and, when every section is valid, finds contradictions between them.
"""

import argparse
from contextlib import suppress
from pathlib import Path
from typing import Any

from stages.backbones.build import build_backbone
from stages.base.errors import UserError
from stages.base.params import Section, read_section, read_yaml
from stages.base.stage import stage
from stages.base.versions import find_differences
from stages.compute.architecture import Architecture
from stages.compute.backend import BACKENDS, choose_backend
from stages.pipeline.conflicts import find_conflicts
from stages.pipeline.consistency import find_contradictions, find_local_sources
from stages.pipeline.damage import find_broken_state, find_damage
from stages.pipeline.dependencies import find_problems, write_dependencies
from stages.schema.compute import Compute
from stages.schema.evaluate import Evaluate
from stages.schema.export import Export
from stages.schema.extract import Extract
from stages.schema.fetch import Fetch
from stages.schema.finetune import Finetune
from stages.schema.pretrain import SOURCE, Pretrain
from stages.schema.report import Report
from stages.schema.split import Split
from stages.splitting.source import read_source
from stages.training.advice import Plan, warn
from stages.transfer.compatibility import check_compatibility
from stages.transfer.freeze import plan_unfreezing, resolve_depths, select_depth

PARAMS = Path("params.yaml")
PIPELINE = Path("dvc.yaml")
LOCK = Path("dvc.lock")
OWN = Path("data/own")
TABLES = Path("data/tables")
CATALOG = Path("stages/downloads/catalog.yaml")
SECTIONS: dict[str, type[Section]] = {
    "fetch": Fetch,
    "split": Split,
    "pretrain": Pretrain,
    "extract": Extract,
    "finetune": Finetune,
    "evaluate": Evaluate,
    "report": Report,
    "export": Export,
    "compute": Compute,
}


@stage("check")
def main() -> None:
    """Run the command."""
    options = build_parser().parse_args()
    if conflicts := find_conflicts([PARAMS, PIPELINE], [LOCK, *sorted(OWN.glob("*.dvc"))]):
        raise UserError("\n".join(["", *conflicts]))
    if options.write:
        write_dependencies(Path())
    sections, found = read_sections()
    if sections.keys() == SECTIONS.keys():
        contradictions = find_contradictions(sections, list(read_yaml(CATALOG)), TABLES, read_yaml(PIPELINE))
        found += [f"{PARAMS}: {line}" for line in contradictions]
        found += find_few(sections["split"], sections["export"])
    choose_backend(sections["compute"].backend if "compute" in sections else BACKENDS[0])
    if sections.keys() >= {"pretrain", "extract", "finetune"}:
        network, wrong, doubtful = describe_freeze(sections)
        found += [line for line in wrong if _key_of(line) not in map(_key_of, found)]
    found += find_problems(Path(), read_yaml(PIPELINE))
    found += [f"installed libraries: expected {line}. Run `pip install -e .`." for line in find_differences()]
    found += find_broken_state(LOCK) + (find_damage(LOCK, OWN) if options.data else [])
    if found:
        raise UserError("\n".join(["", *found]))
    for line in (*find_local_sources(sections), *doubtful):
        print(f"warning: {PARAMS}: {line}")
    if options.data:
        print("data/ and DVC's cache are what their hashes say.")
    print(f"params.yaml is valid: {', '.join(SECTIONS)}.\n{network}\ndvc.yaml declares what the stages use.")


def _key_of(line: str) -> str:
    """Return the key of params.yaml that a line is about: one line for each is enough."""
    return line.removeprefix(f"{PARAMS}: ").partition(": ")[0]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="update dvc.yaml and stages/versions.yaml first")
    parser.add_argument("--data", action="store_true", help="compare data/ and DVC's cache with their hashes")
    return parser


def read_sections() -> tuple[dict[str, Any], list[str]]:
    """Return the valid sections of params.yaml, and what is wrong with the others."""
    sections, found = {}, []
    for name in read_yaml(PARAMS):
        if name not in SECTIONS:
            found.append(f"{PARAMS}: {name}: unknown section. Expected one of: {', '.join(SECTIONS)}.")
    for name, schema in SECTIONS.items():
        try:
            sections[name] = read_section(PARAMS, name, schema)
        except UserError as error:
            found.append(str(error))
    return sections, found


def describe_freeze(sections: dict[str, Any]) -> tuple[str, list[str], list[str]]:
    """Return a sentence on the backbone and its frozen layers, a list of problems, and one of choices that seldom work.

    Args:
        sections: of params.yaml.
    """
    pretrain, extract, finetune = (sections[name] for name in ("pretrain", "extract", "finetune"))
    thawed = finetune.thawed
    chosen: dict[str, Any] = {}
    if "compute" in sections:
        chosen |= {"runner": sections["compute"].frozen, "precision": sections["compute"].precision}
    if "export" in sections:
        chosen["formats"] = sections["export"].formats
    try:
        architecture, pretrained = build_backbone(pretrain)
        fresh, initial = extract.views == "fresh", finetune.head.initial
        check_compatibility(architecture, pooling=extract.pooling, fresh=fresh, initial=initial, **chosen)
        if initial == "source" and pretrain.backbone == SOURCE and pretrained:
            from stages.transfer.heads import select_outputs  # here: it imports the framework

            classes = sections["split"].classes if "split" in sections else "all"
            select_outputs(pretrained, extract.pooling, [] if classes == "all" else [str(name) for name in classes])
        depths = resolve_depths(architecture, extract.freeze, extract.depths)
        depth = select_depth(architecture, depths, thawed.freeze)
        frozen = min(plan_unfreezing(architecture, thawed.plan, depth.frozen).values())
    except UserError as error:
        return "", [f"{PARAMS}: {line}" for line in str(error).splitlines()], []
    names = architecture.names
    stored = f"activations are stored at {depth.layer or 'the pixels'}"
    if extract.views == "fresh":
        stored = "only pixels are stored"
    elif depth.frozen == len(names):
        stored = "only features are stored"
    rest = f"thawed from {names[depth.frozen]} on" if depth.frozen < len(names) else "none thawed"
    return (
        f"{pretrain.network} at {pretrain.image_size} px: {depth.frozen} of {len(names)} layers frozen, {rest}; "
        f"{stored}.",
        [],
        warn(make_plan(sections, architecture, frozen)),
    )


def make_plan(sections: dict[str, Any], architecture: Architecture, frozen: int) -> Plan:
    """Return what the warnings rest on.

    Args:
        sections: of params.yaml.
        architecture: of the backbone.
        frozen: how many layers stay frozen.
    """
    finetune, thawed = sections["finetune"], architecture.layers[frozen:]
    train = sections["split"].train if "split" in sections else None
    calibrates = finetune.calibrate != "none" and "split" in sections
    by_steps = finetune.head.trains and finetune.head.solver == "gradient"
    return Plan(
        images=train if isinstance(train, int) else None,
        pretrained=sections["pretrain"].has_weights,
        frozen=frozen,
        thawed=sum(layer.parameters for layer in thawed) if finetune.thawed.epochs else 0,
        head_rate=finetune.head.learning_rate if by_steps else None,
        thawed_rate=finetune.thawed.learning_rate,
        batch_size=finetune.batch_size,
        trains_batchnorm=finetune.thawed.batchnorm == "train"
        and any(layer.type == "BatchNormalization" for layer in thawed),
        calibration=count_validation(sections["split"]) if calibrates else None,
    )


def count_validation(split: Split) -> int | None:
    """Return how many validation images the split will have, roughly; None if that is not known yet.

    Args:
        split: the section.
    """
    if isinstance(split.val, int) and isinstance(split.classes, list):
        return split.val * len(split.classes)
    with suppress(UserError):  # the data set is not there yet, or cannot be read, which split says
        data_set = read_source(split, TABLES)
        if isinstance(split.val, float):
            return round(split.val * len(data_set.samples))
        return split.val * len(data_set.classes) if isinstance(split.val, int) else None
    return None


def find_few(split: Split, export: Export) -> list[str]:
    """Return a sentence if there will be too few validation images to tell unknown images by.

    Args:
        split: the section.
        export: likewise.
    """
    chosen = export.unknown != "none" and isinstance(split.val, int) and split.val > 0
    if not chosen or (count := count_validation(split)) is None:
        return []
    from stages.formats.unknown import refuse_few  # here: it imports ONNX Runtime

    try:
        refuse_few(count)
    except UserError as error:
        return [f"{PARAMS}: {error}"]
    return []


if __name__ == "__main__":
    main()
