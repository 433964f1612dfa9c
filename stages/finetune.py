"""Train the head on the kept features, then head and thawed layers together on the kept activations.

    python -m stages.finetune

writes data/finetune/: the weights of both models (head-only and fine-tuned), their history, and the table of layers.
A run that was interrupted goes on where it was.
"""

# isort: off
from stages.network.runtime import start  # first: it imports the framework quietly

# isort: on
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from stages.base.params import read_section
from stages.base.stage import UserError, say, stage, whole
from stages.network import build
from stages.network.data import read_data
from stages.network.depths import chosen
from stages.network.gradual import Thawing, gradually
from stages.network.heads import start_from_source
from stages.network.history import in_words, join
from stages.network.kept import FEATURES, Description, read_description
from stages.network.optimizers import Rule, by_depth
from stages.network.pretrained import read_pretrained
from stages.network.resume import resumable
from stages.network.store import Cut, write_model, write_weights
from stages.network.train import Schedule, fit
from stages.schema.compute import Compute
from stages.schema.finetune import Finetune, Head, Thawed

PARAMS = Path("params.yaml")
PRETRAIN = Path("data/pretrain")
EXTRACT = Path("data/extract")
FINETUNE = Path("data/finetune")


@stage("finetune")
def main() -> None:
    """Run the stage."""
    params = read_section(PARAMS, "finetune", Finetune)
    kept, compute = read_description(EXTRACT), read_section(PARAMS, "compute", Compute)
    check(params, kept)
    start(params.seed, compute.devices)
    states = FINETUNE.with_name(f".resume-{FINETUNE.name}")
    with (
        resumable(states, [params.model_dump(), compute.model_dump()], [PRETRAIN, EXTRACT]) as resume,
        whole(FINETUNE) as folder,
    ):
        train(params, compute.precision, kept, folder, resume)


def check(params: Finetune, kept: Description) -> None:
    """Raise UserError where the params ask for what the data do not have."""
    if params.checkpoint == "best" and read_data(EXTRACT, "val", "features", kept) is None:
        raise UserError("finetune.checkpoint: 'best' needs validation images, and split.val left none. Set it to last.")
    if params.head.output == "sigmoid" and len(kept.classes) != 2:
        raise UserError(f"finetune.head.output: expected softmax for {len(kept.classes)} classes; received sigmoid.")


def train(params: Finetune, precision: str, kept: Description, folder: Path, resume: Path) -> None:
    """Train both phases, and write what the stage hands on into ``folder``."""
    pretrained, head = read_pretrained(PRETRAIN), params.head
    backbone, blocks, mode = pretrained.backbone, pretrained.blocks, pretrained.preprocessing
    depth = chosen(kept.depths, params.thawed.freeze, kept.fresh is not None, backbone, blocks)
    counts = gradually(backbone, [(step.epoch, step.freeze) for step in params.thawed.gradual], blocks, depth.frozen)
    size = build.pool(backbone.output, kept.pooling).shape[-1]
    classifier = build.head(size, head.hidden, head.dropout, len(kept.classes), head.batchnorm, head.output)
    if head.initial == "source":
        start_from_source(classifier, pretrained, kept.classes)
    network = build.network(backbone, mode, kept.pooling, classifier)
    shallowest = min(kept.depths, key=lambda depth: depth.frozen)
    keeps = [FEATURES] if shallowest.frozen == kept.layers else [shallowest.kept, FEATURES]
    write_model(folder, network, kept.classes, kept.contract, Cut(backbone.name, mode, keeps, kept.pooling))
    build.compute_in(backbone, precision)  # after it was written: whoever reads it decides for himself
    frozen, thawing = min(counts.values()), Thawing(backbone, params.thawed.batchnorm == "train")
    thawing.table(frozen).to_csv(folder / "layers.csv", index=False)

    def run(model: keras.Model, name: str, what: str, phase: Head | Thawed, **options: Any) -> pd.DataFrame:
        training, validation = (read_data(EXTRACT, split, what, kept) for split in ("train", "val"))
        assert training is not None
        history = fit(model, name, training, validation, schedule(params, phase), resume, **options)
        say(in_words(history))
        return history

    thawing.freeze(kept.layers)
    histories = [run(network if kept.fresh else classifier, "head", "features", head)]  # fresh: from the pixels
    write_weights(folder, network, "head")
    if frozen < kept.layers and params.thawed.epochs:
        model = build.top(backbone, mode, depth.layer, kept.pooling, classifier)
        factors, steps = by_depth(backbone, params.thawed.layer_decay, blocks), thawing.steps(counts)
        histories.append(run(model, "thawed", depth.kept, params.thawed, factors=factors, steps=steps))
    else:
        say("nothing is thawed (freeze: all, or finetune.thawed.epochs: 0): fine-tuned is head-only")
    write_weights(folder, network, "finetuned")
    join(histories).to_csv(folder / "history.csv", index=False)


def schedule(params: Finetune, phase: Head | Thawed) -> Schedule:
    """Return how one phase trains."""
    return Schedule(
        *(phase.epochs, phase.learning_rate, params.batch_size, params.seed),
        params.checkpoint == "best",
        params.early_stopping,
        plateau_patience=params.plateau.patience,
        plateau_factor=params.plateau.factor,
        rule=Rule(**params.optimizer.model_dump()),
        kind=params.schedule.kind,
        warmup=params.schedule.warmup,
        label_smoothing=params.loss.label_smoothing,
        balanced=params.loss.class_weights == "balanced",
    )


if __name__ == "__main__":
    main()
