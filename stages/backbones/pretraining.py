"""Make the backbone that ``pretrain`` hands on: with weights that are published, trained on a data set, or random."""

import json
from dataclasses import replace
from pathlib import Path

# isort: off
from stages.compute.runtime import start  # first: it imports the framework quietly

# isort: on
import pandas as pd

from stages.backbones.leakage import write_learned
from stages.backbones.pretrained import Pretrained, write_pretrained
from stages.backbones.pretraining_data import read_pixels
from stages.backbones.registry import find
from stages.backbones.weights import load_published
from stages.base.arrays import Subset
from stages.base.terminal import say
from stages.compute import build
from stages.compute.forward import Forward
from stages.images.contract import Contract
from stages.schema.pretrain import Pretrain
from stages.training.checkpoint import resumable
from stages.training.dataloader import Kept
from stages.training.history import COLUMNS
from stages.training.train import Schedule, fit, measure


def make_backbone(folder: Path, params: Pretrain, weights: Path | None, devices: int | str, states: Path) -> None:
    """Make the backbone and write all that the stage hands on into ``folder``.

    Args:
        weights: file to load; None where ``params.source`` is a data set.
        devices: GPUs that train, or "auto".
        states: folder for what an interrupted training left; it is gone when the backbone is done.
    """
    start(params.seed, devices)
    row = find(params.backbone, params.image_size)
    backbone = row.build(params.image_size)
    pretrained = Pretrained(backbone, row.describe(backbone), row.preprocessing)
    history = pd.DataFrame(columns=COLUMNS)
    metrics: dict[str, float] = {}
    if weights is not None:
        load_published(backbone, weights)
        say(f"{params.backbone}, {backbone.count_params():,} parameters, with the weights of {weights.name}")
    elif params.epochs:
        with resumable(states, [params.model_dump(), devices], [Path(params.source)]) as resume:
            pretrained, history, metrics = _learn(pretrained, params, folder, resume)
    else:
        say(f"{params.backbone} keeps its random weights (pretrain.epochs: 0)")
    write_pretrained(folder, pretrained)
    history.to_csv(folder / "history.csv", index=False)
    metrics["parameters"] = backbone.count_params()
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def _learn(
    pretrained: Pretrained, params: Pretrain, folder: Path, resume: Path | None
) -> tuple[Pretrained, pd.DataFrame, dict[str, float]]:
    """Train the backbone with a classifier on the source data set, and measure it on the source's test images."""
    source, architecture = Path(params.source), pretrained.architecture
    contract = Contract(params.image_size, architecture.pixels[-1], params.form, params.polarity, "stretch")
    images = read_pixels(source, contract, folder / "pixels.npy")
    if images.unreadable:
        say(f"{images.unreadable} images of {source.name} cannot be read and are left out: {images.reason}")
    classes, labels = images.classes, images.labels
    say(f"{params.backbone} learns {len(classes)} classes from {len(images.train):,} images of {source.name}")
    classifier = build.head(architecture.features("average"), hidden=(), dropout=0.0, classes=len(classes))
    model = build.network(pretrained.backbone, pretrained.preprocessing, "average", classifier)
    schedule = Schedule(params.epochs, params.learning_rate, params.batch_size, params.seed)
    training, test = (
        Kept(Subset(images.rows, places), labels[places], len(classes)) for places in (images.train, images.test)
    )
    history = fit(model, "pretrain", training, None, schedule, resume)
    accuracy = measure(Forward(model), test)["accuracy"]
    say(f"{accuracy:.2%} of the {len(test):,} test images of {source.name} right")
    (folder / "pixels.npy").unlink()
    write_learned(folder / "learned.npz", images.hashes[images.train], images.contract)
    kernel, bias = classifier.get_layer("classifier").get_weights()
    learned = replace(pretrained, classes=classes, classifier=(kernel, bias))
    return learned, history, {"source_test_accuracy": round(accuracy, 4)}
