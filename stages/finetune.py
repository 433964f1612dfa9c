"""Train the head on the kept features, then head and thawed layers together on the kept activations.

    python -m stages.finetune

writes data/finetune/: both models (head-only and fine-tuned), as weights and as graphs, their history, what they say of
the validation images, and the table of layers. A run that was interrupted goes on where it was.
"""

# isort: off
from stages.network.runtime import start  # first: it imports the framework quietly

# isort: on
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from stages.base.params import read_section
from stages.base.stage import UserError, say, stage, whole
from stages.images.packed import Packed
from stages.measure.predictions import softmax, tabulate
from stages.network import build
from stages.network.data import read_data, read_outputs
from stages.network.depths import chosen, gradually
from stages.network.finetuned import Finetuned, predict, write_finetuned
from stages.network.finetuned_keras import write_model
from stages.network.freeze import layer_table
from stages.network.heads import make_head
from stages.network.history import in_words, join
from stages.network.kept import FEATURES, Description, read_description
from stages.network.optimizers import by_depth
from stages.network.plan import schedule
from stages.network.pretrained import read_pretrained
from stages.network.resume import resumable
from stages.network.thawing import Thawing
from stages.network.train import fit
from stages.schema.compute import Compute
from stages.schema.finetune import Finetune, Head, Thawed

PARAMS = Path("params.yaml")
VAL = Path("data/split/val.parquet")
PRETRAIN = Path("data/pretrain")
EXTRACT = Path("data/extract")
FINETUNE = Path("data/finetune")

FEW = 16  # training images for which the graphs are held against the models


@stage("finetune")
def main() -> None:
    """Run the stage."""
    params = read_section(PARAMS, "finetune", Finetune)
    kept, compute = read_description(EXTRACT), read_section(PARAMS, "compute", Compute)
    check(params, kept)
    start(params.seed, compute.devices)
    states = FINETUNE.with_name(f".resume-{FINETUNE.name}")
    choices = [params.model_dump(), compute.model_dump()]
    with resumable(states, choices, [PRETRAIN, EXTRACT]) as resume, whole(FINETUNE) as folder:
        train(params, compute.precision, kept, folder, resume)


def check(params: Finetune, kept: Description) -> None:
    """Raise UserError where the params ask for what the data do not have."""
    validation = read_data(EXTRACT, "val", FEATURES, kept)
    if params.checkpoint == "best" and validation is None:
        raise UserError("finetune.checkpoint: 'best' needs validation images, and split.val left none. Set it to last.")
    if len(Packed(VAL)) != (0 if validation is None else len(validation)):
        raise UserError(f"{EXTRACT} is of other images than {VAL}. Run `dvc repro extract`.")


def train(params: Finetune, precision: str, kept: Description, folder: Path, resume: Path) -> None:
    """Train both phases, and write what the stage hands on into ``folder``."""
    pretrained, head = read_pretrained(PRETRAIN), params.head
    backbone, architecture, mode = pretrained.backbone, pretrained.architecture, pretrained.preprocessing
    depth = chosen(kept.depths, params.thawed.freeze)
    counts = gradually(architecture, [(step.epoch, step.freeze) for step in params.thawed.gradual], depth.frozen)
    classifier = make_head(head, pretrained, kept.pooling, kept.classes)
    network = build.network(backbone, mode, kept.pooling, classifier)
    top = build.top(backbone, mode, depth.layer, kept.pooling, classifier)
    build.compute_in(backbone, precision)
    frozen, thawing = min(counts.values()), Thawing(backbone, params.thawed.batchnorm == "train")
    thaws = frozen < kept.layers and params.thawed.epochs > 0
    layer_table(architecture, frozen, params.thawed.batchnorm == "train").to_csv(folder / "layers.csv", index=False)
    trained, layers = depth if thaws else None, json.loads(classifier.to_json())
    write_finetuned(folder, Finetuned(kept.classes, kept.contract, kept.pooling, trained, layers))
    outputs = read_outputs(EXTRACT, PRETRAIN, "train", kept, depth)
    few = {name: rows[np.arange(min(FEW, len(rows)))] for name, rows in outputs.items()}

    def run(model: keras.Model, name: str, what: str, phase: Head | Thawed, **options: Any) -> pd.DataFrame:
        training, validation = (read_data(EXTRACT, split, what, kept) for split in ("train", "val"))
        assert training is not None
        history = fit(model, name, training, validation, schedule(params, phase), resume, **options)
        say(in_words(history))
        return history

    thawing.freeze(kept.layers)
    histories = [run(network if kept.fresh else classifier, "head", FEATURES, head)]  # fresh: from the pixels
    write_model(folder, PRETRAIN, classifier, "head", few[FEATURES])
    if thaws:
        factors, steps = by_depth(backbone, params.thawed.layer_decay, architecture.blocks), thawing.steps(counts)
        model = network if kept.fresh else top
        histories.append(run(model, "thawed", depth.kept, params.thawed, factors=factors, steps=steps))
        write_model(folder, PRETRAIN, top, "finetuned", few[depth.kept])
    else:
        why = "epochs is 0" if frozen < kept.layers else "freeze, or each step of gradual, freezes all layers"
        say(f"nothing is thawed (finetune.thawed: {why}): fine-tuned is head-only")
    join(histories).to_csv(folder / "history.csv", index=False)
    val = Packed(VAL)
    if len(val):
        logits = predict(folder, PRETRAIN, read_outputs(EXTRACT, PRETRAIN, "val", kept, depth))
        pq.write_table(tabulate(val, {name: softmax(rows) for name, rows in logits.items()}), folder / "val.parquet")


if __name__ == "__main__":
    main()
