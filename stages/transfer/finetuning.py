"""Train both phases, head and thawed layers, on what ``extract`` stored, and write both models."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from stages.backbones.pretrained import read_pretrained
from stages.base.arrays import ArrayLike
from stages.base.terminal import say
from stages.compute.architecture import A_GRAPH, FEATURES, Architecture, read_architecture
from stages.compute.networks import Model, build_network, build_trainable_part, set_precision
from stages.compute.optimizers import OptimizerConfig, layer_decay_factors
from stages.compute.runtime import start
from stages.compute.saving import to_config
from stages.compute.trainable import LayerFreezer, has_dropout
from stages.images.preview import are_augmented, read_preview
from stages.images.split_file import SplitFile
from stages.measure.predictions import softmax, tabulate
from stages.measure.temperature import describe_temperature, fit_temperature
from stages.schema.finetune import Finetune, Head, Thawed
from stages.training.advice import FEW_VALIDATION
from stages.training.checkpoint import checkpoint_folder
from stages.training.history import describe, describe_training_accuracy, join
from stages.training.train import TrainingConfig, fit
from stages.transfer.activations import Description
from stages.transfer.calibration import Calibration, write_calibration
from stages.transfer.compatibility import check_compatibility
from stages.transfer.data import read_data, read_groups, read_outputs
from stages.transfer.freeze import AS_EXTRACTED, Depth, layer_table, plan_unfreezing, select_depth
from stages.transfer.heads import make_head
from stages.transfer.linear_probe import probe
from stages.transfer.model_pair import ModelPair, predict, write_model_pair
from stages.transfer.model_pair_keras import divide_logits, write_model

FEW = 16  # training images on which graphs and models are compared


@dataclass(frozen=True)
class Inputs:
    """What fine-tuning starts from.

    Attributes:
        pretrain: folder that ``pretrain`` wrote.
        extract: folder that ``extract`` wrote.
        activations: what is in it.
        val: the validation images.
    """

    pretrain: Path
    extract: Path
    activations: Description
    val: SplitFile


def train(
    params: Finetune, inputs: Inputs, folder: Path, *, precision: str, devices: int | str, checkpoints: Path
) -> None:
    """Train both phases, and write what the stage hands on into ``folder``.

    Args:
        params: the section ``finetune``.
        inputs: what it starts from.
        folder: to write into.
        precision: of the backbone, float32 or bfloat16.
        devices: GPUs that share each batch, or "auto".
        checkpoints: folder to resume an interrupted training from; removed when both phases are done.
    """
    start(params.seed, devices)
    choices = [params.model_dump(), precision, devices]
    with checkpoint_folder(checkpoints, choices, [inputs.pretrain, inputs.extract]) as resume:
        _train(params, precision, inputs, folder, resume)


def _train(params: Finetune, precision: str, inputs: Inputs, folder: Path, resume: Path | None) -> None:
    pretrain, activations = inputs.pretrain, inputs.activations
    architecture, pooling = read_architecture(pretrain), activations.pooling
    check_compatibility(architecture, initial=params.head.initial)
    depth = select_depth(architecture, activations.depths, params.thawed.freeze)
    frozen_from = plan_unfreezing(architecture, params.thawed.plan, depth.frozen)
    train_batchnorm, frozen = params.thawed.batchnorm == "train", min(frozen_from.values())
    thaws = frozen < activations.layers and params.thawed.epochs > 0
    # KerasHub may be missing where it is not needed.
    needed = not architecture.of_hub or thaws or activations.fresh or params.head.initial == "source"
    pretrained = read_pretrained(pretrain) if architecture.trainable and needed else None
    head = make_head(params.head, architecture, pretrained, pooling, activations.classes)
    network = thawed = head
    freezer = None
    if pretrained is not None:
        backbone = pretrained.backbone
        network = build_network(backbone, pooling, head)
        thawed = build_trainable_part(backbone, depth.layer, pooling, head)
        set_precision(backbone.model, precision)
        uncounted = len(backbone.model.layers) - len(architecture.layers)
        freezer = LayerFreezer(backbone.model, train_batchnorm, uncounted)
    layer_table(architecture, frozen, train_batchnorm).to_csv(folder / "layers.csv", index=False)
    pair = ModelPair(
        classes=activations.classes,
        contract=activations.contract,
        pooling=pooling,
        depth=depth if thaws else None,
        head=to_config(head),
        head_trained=params.head.trains or params.head.initial == "source",
    )
    write_model_pair(folder, pair)
    outputs = read_outputs(inputs.extract, pretrain, "train", activations, depth)
    few = {name: rows[np.arange(min(FEW, len(rows)))] for name, rows in outputs.items()}

    def run(model: Model, phase: str, tensor: str, options: Head | Thawed, **fit_options: Any) -> pd.DataFrame:
        training, validation = (read_data(inputs.extract, split, tensor, activations) for split in ("train", "val"))
        assert training is not None
        config = training_config(params, options)
        if isinstance(options, Head) and options.solver == "logistic":
            history = probe(model, training, validation, read_groups(inputs.extract, len(training)), config)
        else:
            history = fit(model, phase, training, validation, config, resume=resume, **fit_options)
        say(describe(history, config.checkpoint))
        return history

    if len(inputs.val):
        if freezer:
            freezer.freeze(frozen if thaws else activations.layers)
        views, _ = read_preview(inputs.extract / "seen.npz")
        if note := describe_training_accuracy(has_dropout(network), are_augmented(views)):
            say(note)
    if freezer:
        freezer.freeze(activations.layers)
    # With fresh views, only pixels are stored, so the input is the whole network's.
    histories = [run(network if activations.fresh else head, "head", FEATURES, params.head)]
    write_model(folder, pretrain, head, "head", few[FEATURES])
    if freezer and thaws:
        histories.append(
            run(
                network if activations.fresh else thawed,
                "thawed",
                depth.tensor,
                params.thawed,
                rate_factors=layer_decay_factors(backbone, params.thawed.layer_decay),
                before_epoch=freezer.callbacks(frozen_from),
            )
        )
        write_model(folder, pretrain, thawed, "finetuned", few[depth.tensor])
    else:
        say(f"only the head was trained, because {_explain_frozen(architecture, params.thawed, depth)}")
    join(histories).to_csv(folder / "history.csv", index=False)
    if len(inputs.val):
        rows = read_outputs(inputs.extract, pretrain, "val", activations, depth)
        if params.calibrate == "temperature":
            _calibrate(pair, folder, inputs, rows, few)
        _predict_validation(pair, folder, inputs, rows)


def _predict_validation(pair: ModelPair, folder: Path, inputs: Inputs, rows: Mapping[str, ArrayLike]) -> None:
    """Write what the models predict for the validation images; ``rows`` are the outputs of the frozen part for them."""
    logits = predict(folder, inputs.pretrain, rows)
    probabilities = {name: softmax(logits[name]) for name in pair.measured}
    pq.write_table(tabulate(inputs.val, probabilities), folder / "val.parquet")


def _calibrate(
    pair: ModelPair, folder: Path, inputs: Inputs, rows: Mapping[str, ArrayLike], few: Mapping[str, np.ndarray]
) -> None:
    """Divide the logits of each model by its temperature.

    Args:
        pair: describes the models.
        folder: that holds them.
        inputs: the validation images among others.
        rows: outputs of the frozen part for these, by name.
        few: some for training images, likewise.
    """
    logits, labels, values = predict(folder, inputs.pretrain, rows), inputs.val.labels(), dict[str, float]()
    for model in pair.measured:
        if (stem := pair.stem(model)) not in values:
            fitted = fit_temperature(labels, logits[model])
            values[stem] = fitted.value
            say(f"{stem}: {describe_temperature(fitted)}")
            divide_logits(folder, inputs.pretrain, stem, fitted.value, few[pair.input_of(model)])
    say("losses and accuracies by epoch are those of the models before calibration")
    if len(labels) < FEW_VALIDATION:
        say(f"note: temperatures fitted on fewer than {FEW_VALIDATION} images depend much on which ones these are")
    write_calibration(folder, Calibration(len(labels), {name: values[pair.stem(name)] for name in pair.measured}))


def _explain_frozen(architecture: Architecture, params: Thawed, depth: Depth) -> str:
    """Return why nothing was thawed, and how to thaw something."""
    if not architecture.trainable:
        return f"the backbone is {A_GRAPH}"
    if depth.frozen == len(architecture.layers):
        key, others = "finetune.thawed.freeze", "another depth of extract.depths"
        if params.freeze == AS_EXTRACTED:
            key, others = (
                "extract.freeze",
                "a block, a layer or a count such as -2 (`python -m stages layers` lists them)",
            )
        return f"{key} freezes the whole backbone. To thaw part of it, set {key} to {others}"
    if params.epochs == 0:
        return "finetune.thawed.epochs is 0"
    return "each step of finetune.thawed.gradual freezes the whole backbone"


def training_config(params: Finetune, phase: Head | Thawed) -> TrainingConfig:
    """Return how one phase trains.

    Args:
        params: what both phases share.
        phase: its own section.
    """
    return TrainingConfig(
        epochs=phase.epochs,
        learning_rate=phase.learning_rate,
        batch_size=params.batch_size,
        seed=params.seed,
        checkpoint=params.checkpoint,
        early_stopping=params.early_stopping,
        plateau_patience=params.plateau.patience,
        plateau_factor=params.plateau.factor,
        plateau_floor=params.plateau.floor,
        optimizer=OptimizerConfig(**params.optimizer.model_dump()),
        schedule=params.schedule.kind,
        warmup=params.schedule.warmup,
        label_smoothing=params.loss.label_smoothing,
        balanced=params.loss.class_weights == "balanced",
    )
