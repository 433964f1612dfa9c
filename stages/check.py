"""Check params.yaml as a whole, and dvc.yaml against the code, before anything runs.

    python -m stages.check

Every stage checks its own section when it starts. This checks all of them at once, what they ask of each other, and
that the layer or block named by extract.freeze exists.
"""

from pathlib import Path
from typing import Any

from stages.base.declared import problems
from stages.base.params import Section, read_section, read_yaml
from stages.base.stage import UserError, stage
from stages.schema.evaluate import Evaluate
from stages.schema.export import Export
from stages.schema.extract import Extract
from stages.schema.fetch import Fetch
from stages.schema.finetune import Finetune
from stages.schema.pretrain import Pretrain
from stages.schema.report import Report
from stages.schema.split import Split
from stages.sources.assign import check_amounts

PARAMS = Path("params.yaml")
PIPELINE = Path("dvc.yaml")
CATALOG = Path("stages/sources/catalog.yaml")
SECTIONS: dict[str, type[Section]] = {
    "fetch": Fetch,
    "split": Split,
    "pretrain": Pretrain,
    "extract": Extract,
    "finetune": Finetune,
    "evaluate": Evaluate,
    "report": Report,
    "export": Export,
}


@stage("check")
def main() -> None:
    """Run the command."""
    sections, found = read_all()
    if not found:
        found = between(sections)
    if not found:
        network, found = backbone_and_freeze(sections["pretrain"], sections["extract"])
    found += problems(Path(), read_yaml(PIPELINE))
    if found:
        raise UserError("\n".join(["", *found]))
    print(f"params.yaml is valid: {', '.join(SECTIONS)}.\n{network}\ndvc.yaml declares what the stages use.")


def read_all() -> tuple[dict[str, Any], list[str]]:
    """Return the sections of params.yaml that are valid, and what is wrong with the others."""
    sections, found = {}, []
    for name in read_yaml(PARAMS):
        if name not in SECTIONS:
            found.append(f"{PARAMS}: {name}: unknown section. There are: {', '.join(SECTIONS)}.")
    for name, schema in SECTIONS.items():
        try:
            sections[name] = read_section(PARAMS, name, schema)
        except UserError as error:
            found.append(str(error))
    return sections, found


def between(sections: dict[str, Any]) -> list[str]:
    """Return where valid sections contradict each other, the catalog, or what is on disk."""
    found = []
    split = sections["split"]
    try:
        check_amounts({"train": split.train, "val": split.val, "test": split.test}, divided=True)
    except UserError as error:
        found.append(f"{PARAMS}: {error}")
    catalog, items = list(read_yaml(CATALOG)), sections["fetch"].items
    found += [
        f"{PARAMS}: fetch.items: expected items of the catalog ({', '.join(catalog)}); received '{item}'."
        for item in items
        if item not in catalog
    ]
    for name in ("split", "pretrain"):
        source = Path(sections[name].source)
        fetched = source.parts[:2] == ("data", "fetch") and len(source.parts) == 3
        if fetched and source.name not in items:
            found.append(f"{PARAMS}: {name}.source: {source} is fetched only when fetch.items lists {source.name}.")
        elif not fetched and not source.exists() and not source.with_name(f"{source.name}.dvc").exists():
            found.append(f"{PARAMS}: {name}.source: there is no {source}. Put it there, or run `dvc pull`.")
    if Path(split.source) == Path(sections["pretrain"].source) and sections["pretrain"].epochs:
        found.append(f"{PARAMS}: pretrain.source: {split.source} is split.source too; test images would be learned.")
    if split.val == 0 and sections["finetune"].checkpoint == "best":
        found.append(
            f"{PARAMS}: finetune.checkpoint: 'best' needs validation images, and split.val is 0. Set it to last."
        )
    return found


def backbone_and_freeze(pretrain: Pretrain, extract: Extract) -> tuple[str, list[str]]:
    """Build the backbone and find the freeze boundary; return a line about them, or what is wrong."""
    from stages.network import runtime  # noqa: F401  (here: the framework takes seconds to import, the rest does not)
    from stages.network.backbones import find
    from stages.network.freeze import boundary

    try:
        backbone = find(pretrain.backbone, pretrain.image_size).build(pretrain.image_size)
        cut = boundary(backbone, extract.freeze)
    except UserError as error:
        return "", [f"{PARAMS}: {error}"]
    names = [layer.name for layer in backbone.layers]
    thawed = f"thawed from {names[cut.frozen]} on" if cut.frozen < len(names) else "none thawed"
    return (
        f"{pretrain.backbone} at {pretrain.image_size} px: {cut.frozen} of {len(names)} layers frozen, {thawed}; "
        f"activations are kept at {cut.layer or 'the pixels'}.",
        [],
    )


if __name__ == "__main__":
    main()
