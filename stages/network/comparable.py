"""Which freeze depths can be compared."""

from pathlib import Path

from stages.base.backend import choose_backend
from stages.base.params import read_section, read_values
from stages.base.stage import UserError
from stages.network.backbones import find
from stages.network.depths import distinct, gradually
from stages.schema.compute import Compute
from stages.schema.extract import Extract
from stages.schema.finetune import Finetune
from stages.schema.pretrain import Pretrain


def comparable(params: Path, given: list[int | str]) -> dict[int | str, int]:
    """Return how many layers each depth freezes, the most frozen first; refuse those that cannot be compared."""
    pretrain, finetune = read_section(params, "pretrain", Pretrain), read_section(params, "finetune", Finetune)
    read_section(params, "extract", Extract)
    if len(given) < 2:
        hint = f"`python -m stages.backbones {pretrain.backbone}` lists blocks."
        raise UserError(f"expected two or more depths, such as: all none; received {len(given)}. {hint}")
    if not finetune.thawed.epochs:
        raise UserError("finetune.thawed.epochs: expected 1 or more, for with 0 nothing is thawed at any depth.")
    choose_backend(*read_values(params, "compute", Compute, "backend"))
    found = find(pretrain.backbone, pretrain.image_size)
    backbone = found.describe(pretrain.image_size)
    frozen, plan = distinct(backbone, given), [(step.epoch, step.freeze) for step in finetune.thawed.gradual]
    for count in frozen.values():
        gradually(backbone, plan, count)
    return dict(sorted(frozen.items(), key=lambda item: -item[1]))
