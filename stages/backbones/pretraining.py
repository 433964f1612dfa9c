"""Make the backbone that ``pretrain`` hands on: with published weights, trained on a data set, or random."""

from pathlib import Path

import pandas as pd

from stages.backbones.build import build_pretrained
from stages.backbones.keras_backbone import describe_keras_backbone, find_second_scaling
from stages.backbones.leakage import write_learned
from stages.backbones.preset_backbone import describe_preset
from stages.backbones.pretrained import Pretrained, write_pretrained
from stages.backbones.pretraining_data import read_pixels
from stages.backbones.source import Source
from stages.backbones.weights import load_published
from stages.base.arrays import Subset
from stages.base.files import write_json
from stages.base.terminal import say
from stages.compute.forward import Forward
from stages.compute.networks import Backbone, build_head, build_network
from stages.compute.runtime import start
from stages.images.contract import Contract
from stages.schema.pretrain import Pretrain
from stages.training.checkpoint import checkpoint_folder
from stages.training.dataloader import ArrayData
from stages.training.history import COLUMNS, describe
from stages.training.train import TrainingConfig, fit, measure


def make_backbone(folder: Path, params: Pretrain, source: Source, *, devices: int | str, checkpoints: Path) -> None:
    """Make the backbone, and write what the stage hands on into ``folder``.

    Args:
        folder: to write into.
        params: the section ``pretrain``.
        source: what ``params.source`` is.
        devices: GPUs that train, or "auto".
        checkpoints: folder to resume an interrupted training from; removed when the backbone is done.
    """
    start(params.seed, devices)
    history = pd.DataFrame(columns=COLUMNS)
    metrics: dict[str, float] = {}
    pretrained = build_pretrained(params, source)
    backbone, model = pretrained.backbone, pretrained.backbone.model
    if source.is_model:
        say(describe_keras_backbone(pretrained, source.path))
        if warning := find_second_scaling(pretrained):
            say(warning)
        for line in describe_preset(params, source.path) if source.kind == "keras_hub" else []:
            say(line)
    elif source.kind == "weights":
        load_published(model, source.path)
        say(f"{params.backbone}, {model.count_params():,} parameters, with the weights of {source.path.name}")
    elif params.epochs:
        with checkpoint_folder(checkpoints, [params.model_dump(), devices], [Path(params.source)]) as resume:
            pretrained, history, metrics = _learn(backbone, params, folder, resume)
    else:
        say(f"{params.backbone} has random weights (pretrain.epochs: 0)")
    write_pretrained(folder, pretrained)
    history.to_csv(folder / "history.csv", index=False)
    metrics["parameters"] = model.count_params()
    write_json(folder / "metrics.json", metrics)


def _learn(
    backbone: Backbone, params: Pretrain, folder: Path, resume: Path | None
) -> tuple[Pretrained, pd.DataFrame, dict[str, float]]:
    """Train the backbone with a classifier on the source data set, and measure it on the source's test images."""
    source, architecture = Path(params.source), backbone.architecture
    contract = Contract(params.image_size, architecture.pixels[-1], params.form, params.polarity, "stretch")
    images = read_pixels(source, contract, folder / "pixels.npy")
    if images.unreadable:
        say(f"{images.unreadable} images of {source.name} cannot be read and are left out: {images.reason}")
    classes, labels = images.classes, images.labels
    say(f"training {params.backbone} on {len(images.train):,} images of {source.name}, {len(classes)} classes")
    classifier = build_head(architecture.features("average"), classes=len(classes))
    model = build_network(backbone, "average", classifier)
    config = TrainingConfig(
        epochs=params.epochs, learning_rate=params.learning_rate, batch_size=params.batch_size, seed=params.seed
    )
    training, test = (
        ArrayData(Subset(images.rows, places), labels[places], len(classes)) for places in (images.train, images.test)
    )
    history = fit(model, "pretrain", training, None, config, resume=resume)
    say(describe(history, config.checkpoint))
    accuracy = measure(Forward(model), test)["accuracy"]
    say(f"accuracy on {len(test):,} test images of {source.name}: {accuracy:.2%}")
    (folder / "pixels.npy").unlink()
    write_learned(folder / "learned.npz", images.hashes[images.train], images.contract)
    kernel, bias = classifier.get_layer("classifier").get_weights()
    learned = Pretrained(backbone, classes, (kernel, bias))
    return learned, history, {"source_test_accuracy": round(accuracy, 4)}
