"""The candidates of a sweep: backbones and freeze depths, each as a complete params.yaml."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.backbones.build import build_backbone
from stages.backbones.registry import BACKBONES, weights_item
from stages.backbones.source import find_source
from stages.base.errors import UserError
from stages.base.params import validate
from stages.compute.architecture import Architecture
from stages.pipeline.recipes import apply_recipe
from stages.schema.extract import Extract
from stages.schema.fetch import Fetch
from stages.schema.finetune import Finetune
from stages.schema.pretrain import AUTO, SOURCE, Pretrain
from stages.schema.split import Split
from stages.transfer.compatibility import check_compatibility
from stages.transfer.freeze import AS_EXTRACTED, plan_unfreezing, resolve_distinct

if TYPE_CHECKING:
    from stages.compute.networks import Backbone

SCRATCH = "from-scratch"
_BUILT_IN = {"pixels": AUTO, "output": AUTO, "classes": AUTO}  # keys of pretrain that are for models of one's own
_SMALL = "three_conv_cnn"  # from few images it learns more than a deep network with random weights


@dataclass(frozen=True)
class Sections:
    """The sections of params.yaml that a sweep changes, with the text of the whole file."""

    text: str
    fetch: Fetch
    split: Split
    pretrain: Pretrain
    extract: Extract
    finetune: Finetune


def read_sections(text: str, values: Mapping[str, Any]) -> Sections:
    """Return the sections.

    Args:
        text: of params.yaml.
        values: what it holds.

    Raises:
        UserError: one is missing or wrong.
    """
    return Sections(
        text,
        validate(values.get("fetch"), "fetch", Fetch),
        validate(values.get("split"), "split", Split),
        validate(values.get("pretrain"), "pretrain", Pretrain),
        validate(values.get("extract"), "extract", Extract),
        validate(values.get("finetune"), "finetune", Finetune),
    )


@dataclass(frozen=True)
class Candidate:
    """A backbone, frozen up to a depth.

    Attributes:
        name: DEPTH, BACKBONE-DEPTH or SCRATCH.
        freeze: the depth.
        frozen: how many layers it freezes.
        network: the backbone, with any weights; without layers that can be thawed, only its architecture.
        text: of params.yaml.
    """

    name: str
    freeze: int | str
    frozen: int
    network: "tuple[Architecture, Backbone | None]"
    text: str

    @property
    def thaws(self) -> bool:
        """Whether it leaves layers to thaw."""
        return self.frozen < len(self.network[0].layers)


def plan_candidates(
    sections: Sections, backbones: Mapping[str, str | None], depths: Sequence[int | str], catalog: Collection[str]
) -> list[list[Candidate]]:
    """Return the candidates of each backbone, the most frozen first. They share a pass through its frozen layers.

    Args:
        sections: of params.yaml.
        backbones: names, each with its ``pretrain.source``; None for that of params.yaml or of the catalog. {} for the
            backbone of params.yaml.
        depths: to freeze each of them up to.
        catalog: items that can be fetched.

    Raises:
        UserError: a backbone or depth does not exist, or cannot be compared.
    """
    if len(depths) > 1 and not sections.finetune.thawed.epochs:
        raise UserError("finetune.thawed.epochs: expected 1 or more; with 0 nothing is thawed at any depth.")
    groups = []
    for name, source in (backbones or {sections.pretrain.backbone: None}).items():
        try:
            changes = _find_weights(sections, name, source, catalog)
            groups.append(_plan_depths(sections, changes, depths, f"{name}-" if backbones else ""))
        except UserError as error:
            raise UserError(f"{name}: {error}" if len(backbones) > 1 else str(error)) from None
    return groups


def _plan_depths(
    sections: Sections, weights: dict[str, dict[str, Any]], depths: Sequence[int | str], prefix: str
) -> list[Candidate]:
    pretrain = sections.pretrain.model_copy(update=weights.get("pretrain", {}))
    network = _build(pretrain, sections.extract, sections.finetune.head.initial)
    architecture, _ = network
    frozen = dict(sorted(resolve_distinct(architecture, depths).items(), key=lambda item: -item[1]))
    for count in frozen.values():
        plan_unfreezing(architecture, sections.finetune.thawed.plan, count)
    first, *others = frozen

    def plan(freeze: int | str) -> str:
        extract, finetune = {"freeze": first, "depths": others}, {"thawed": {"freeze": freeze}}
        return _apply(sections.text, {**weights, "extract": extract, "finetune": finetune})

    return [Candidate(f"{prefix}{freeze}", freeze, count, network, plan(freeze)) for freeze, count in frozen.items()]


def _find_weights(
    sections: Sections, name: str, source: str | None, catalog: Collection[str]
) -> dict[str, dict[str, Any]]:
    """Return the changes of params.yaml that start from the weights of a backbone."""
    if not source and name == sections.pretrain.backbone:
        return {}
    if name != SOURCE and sections.finetune.head.initial != "new":
        raise UserError("finetune.head.initial: expected new, because these weights come without classifier.")
    pretrain = {"backbone": name, **({} if name == SOURCE else _BUILT_IN)}
    if source:
        pretrain["source"] = source
        find_source(sections.pretrain.model_copy(update=pretrain))  # refuses what is not there
        return {"pretrain": pretrain}
    item, items = weights_item(name), sections.fetch.items
    if name in BACKBONES and item not in catalog:
        others = ", or train it anew: --from-scratch." if BACKBONES[name].own else "."
        raise UserError(f"there are no published weights of {name}. Name a file: {name}=data/own/NAME.h5{others}")
    pretrain["source"] = f"data/fetch/{item}"
    return {"fetch": {"items": [*items, *({item} - set(items))]}, "pretrain": pretrain}


def plan_from_scratch(sections: Sections) -> Candidate:
    """Return a small network with random weights, trained on the same images and views.

    It is the backbone of params.yaml if that is a small network without published weights; otherwise three_conv_cnn. It
    trains for as many epochs as head and thawed layers together, at the head's learning rate.

    Args:
        sections: of params.yaml.

    Raises:
        UserError: it does not accept these images or choices.
    """
    name = sections.pretrain.backbone
    name = name if name in BACKBONES and BACKBONES[name].own else _SMALL
    head = sections.finetune.head
    pretrain = {"backbone": name, "source": sections.split.source, "epochs": 0, **_BUILT_IN}
    finetune = {
        "head": {"initial": "new", "solver": "gradient", "epochs": 0},
        "thawed": {
            "freeze": AS_EXTRACTED,
            "epochs": head.epochs + sections.finetune.thawed.epochs,
            "learning_rate": head.learning_rate,
            "layer_decay": 1.0,
            "gradual": [],
        },
    }
    network = _build(sections.pretrain.model_copy(update=pretrain), sections.extract, "new")
    changes = {"pretrain": pretrain, "extract": {"freeze": "none", "depths": []}, "finetune": finetune}
    return Candidate(SCRATCH, "none", 0, network, _apply(sections.text, changes))


def _build(pretrain: Pretrain, extract: Extract, initial: str) -> "tuple[Architecture, Backbone | None]":
    architecture, pretrained = build_backbone(pretrain)
    check_compatibility(architecture, pooling=extract.pooling, fresh=extract.views == "fresh", initial=initial)
    return architecture, pretrained.backbone if pretrained else None


def _apply(text: str, changes: dict[str, Any]) -> str:
    return apply_recipe(text, json.dumps(changes), "sweep")
