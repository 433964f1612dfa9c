"""Train both phases of fine-tuning, head and thawed layers, from what ``extract`` kept; write what they became."""

# isort: off
from stages.compute.runtime import start  # first: it imports the framework quietly

# isort: on
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from stages.backbones.pretrained import read_pretrained
from stages.base.terminal import say
from stages.compute import build
from stages.compute.architecture import FEATURES
from stages.compute.optimizers import Rule, by_depth
from stages.images.split_file import SplitFile
from stages.measure.predictions import softmax, tabulate
from stages.schema.finetune import Finetune, Head, Thawed
from stages.training.checkpoint import resumable
from stages.training.history import in_words, join
from stages.training.train import Schedule, fit
from stages.transfer.activations import Description
from stages.transfer.data import read_data, read_outputs
from stages.transfer.depths import chosen, gradually
from stages.transfer.freeze import layer_table
from stages.transfer.heads import make_head
from stages.transfer.model_pair import Finetuned, predict, write_finetuned
from stages.transfer.model_pair_keras import write_model
from stages.transfer.thaw import Thawing

FEW = 16  # training images for which the graphs are held against the models


@dataclass(frozen=True)
class Inputs:
    """What fine-tuning starts from.

    Attributes:
        pretrain: folder that ``pretrain`` wrote.
        extract: folder that ``extract`` wrote.
        kept: what is in it.
        val: the validation images.
    """

    pretrain: Path
    extract: Path
    kept: Description
    val: SplitFile


def train(params: Finetune, precision: str, devices: int | str, inputs: Inputs, folder: Path, states: Path) -> None:
    """Train both phases, and write what the stage hands on into ``folder``.

    Args:
        precision: of the backbone, float32 or bfloat16.
        devices: GPUs that share each batch, or "auto".
        states: folder for what an interrupted training left; it is gone when both phases are done.
    """
    start(params.seed, devices)
    choices = [params.model_dump(), precision, devices]
    with resumable(states, choices, [inputs.pretrain, inputs.extract]) as resume:
        _train(params, precision, inputs, folder, resume)


def _train(params: Finetune, precision: str, inputs: Inputs, folder: Path, resume: Path | None) -> None:
    pretrain, extract, kept, val = inputs.pretrain, inputs.extract, inputs.kept, inputs.val
    pretrained, head = read_pretrained(pretrain), params.head
    backbone, architecture, mode = pretrained.backbone, pretrained.architecture, pretrained.preprocessing
    depth = chosen(architecture, kept.depths, params.thawed.freeze)
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
    outputs = read_outputs(extract, pretrain, "train", kept, depth)
    few = {name: rows[np.arange(min(FEW, len(rows)))] for name, rows in outputs.items()}

    def run(model: keras.Model, name: str, what: str, phase: Head | Thawed, **options: Any) -> pd.DataFrame:
        training, validation = (read_data(extract, split, what, kept) for split in ("train", "val"))
        assert training is not None
        history = fit(model, name, training, validation, schedule(params, phase), resume, **options)
        say(in_words(history))
        return history

    thawing.freeze(kept.layers)
    histories = [run(network if kept.fresh else classifier, "head", FEATURES, head)]  # fresh: from the pixels
    write_model(folder, pretrain, classifier, "head", few[FEATURES])
    if thaws:
        factors, steps = by_depth(backbone, params.thawed.layer_decay, architecture.blocks), thawing.steps(counts)
        model = network if kept.fresh else top
        histories.append(run(model, "thawed", depth.kept, params.thawed, factors=factors, steps=steps))
        write_model(folder, pretrain, top, "finetuned", few[depth.kept])
    else:
        why = "epochs is 0" if frozen < kept.layers else "freeze, or each step of gradual, freezes all layers"
        say(f"nothing is thawed (finetune.thawed: {why}): fine-tuned is head-only")
    join(histories).to_csv(folder / "history.csv", index=False)
    if len(val):
        logits = predict(folder, pretrain, read_outputs(extract, pretrain, "val", kept, depth))
        pq.write_table(tabulate(val, {name: softmax(rows) for name, rows in logits.items()}), folder / "val.parquet")


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
