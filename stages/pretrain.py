"""Make the backbone: load published weights, or train a network on a source data set.

    python -m stages.pretrain

writes data/pretrain/: architecture, weights and graph, in one form whatever they came from.
"""

# isort: off
from stages.network.runtime import start  # first: it imports the framework quietly

# isort: on
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from stages.base.params import read_key, read_section
from stages.base.stage import UserError, say, stage, whole
from stages.images.contract import Contract
from stages.network import build
from stages.network.backbones import find
from stages.network.batches import Kept
from stages.network.forward import Forward
from stages.network.history import COLUMNS
from stages.network.pretrained import Pretrained, write_pretrained
from stages.network.published import load_published
from stages.network.resume import resumable
from stages.network.train import Schedule, fit
from stages.schema.pretrain import Pretrain
from stages.sources.arrays import read_arrays

PARAMS = Path("params.yaml")
PRETRAIN = Path("data/pretrain")


@stage("pretrain")
def main() -> None:
    """Run the stage."""
    params = read_section(PARAMS, "pretrain", Pretrain)
    row = find(params.backbone, params.image_size)
    start(params.seed, read_key(PARAMS, "compute.devices"))
    backbone = row.build(params.image_size)
    weights = published_weights(Path(params.source))
    with whole(PRETRAIN) as folder:
        pretrained = Pretrained(backbone, row.describe(backbone), row.preprocessing)
        history = pd.DataFrame(columns=COLUMNS)
        metrics: dict[str, float] = {}
        if weights is not None:
            load_published(backbone, weights)
            say(f"{params.backbone}, {backbone.count_params():,} parameters, with the weights of {weights.name}")
        elif params.epochs:
            pretrained, history, metrics = learn(pretrained, params)
        else:
            say(f"{params.backbone} keeps its random weights (pretrain.epochs: 0)")
        write_pretrained(folder, pretrained)
        history.to_csv(folder / "history.csv", index=False)
        metrics["parameters"] = backbone.count_params()
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def published_weights(source: Path) -> Path | None:
    """Return the weights file that ``source`` is or holds; None where it is a data set.

    Raises:
        UserError: there is nothing, or more than one weights file.
    """
    if source.is_file():
        return source if source.suffix == ".h5" else None
    if not source.is_dir():
        raise UserError(
            f"pretrain.source: expected a data set folder or a weights file; there is no {source}. "
            f"Add it to fetch.items, put it into data/own/, or run `dvc pull`."
        )
    files = sorted(source.glob("*.h5"))
    if len(files) > 1:
        raise UserError(
            f"pretrain.source: expected one weights file in {source}, found {', '.join(f.name for f in files)}."
        )
    return files[0] if files else None


def learn(pretrained: Pretrained, params: Pretrain) -> tuple[Pretrained, pd.DataFrame, dict[str, float]]:
    """Train the backbone with a classifier on the source data set, and measure it on the source's test images."""
    source, architecture = Path(params.source), pretrained.architecture
    contract = Contract(params.image_size, architecture.pixels[-1], params.form, params.polarity, "stretch")
    arrays = read_arrays(source, contract)
    if arrays.unreadable:
        say(f"{arrays.unreadable} images of {source.name} cannot be read and are left out")
    count = f"{len(arrays.classes)} classes from {len(arrays.train[1]):,} images of {source.name}"
    say(f"{params.backbone} learns {count}")
    features = architecture.features("average")
    classifier = build.head(features, hidden=(), dropout=0.0, classes=len(arrays.classes))
    model = build.network(pretrained.backbone, pretrained.preprocessing, "average", classifier)
    schedule = Schedule(params.epochs, params.learning_rate, params.batch_size, params.seed)
    training = Kept(*arrays.train, len(arrays.classes))
    with resumable(PRETRAIN.with_name(f".resume-{PRETRAIN.name}"), params.model_dump(), [source]) as resume:
        history = fit(model, "pretrain", training, None, schedule, resume)
    pixels, labels = arrays.test
    logits = Forward(model)(pixels)
    accuracy = float(np.mean(np.argmax(logits, axis=1) == labels))
    say(f"{accuracy:.2%} of the {len(labels):,} test images of {source.name} right")
    kernel, bias = classifier.get_layer("classifier").get_weights()
    learned = replace(pretrained, classes=arrays.classes, classifier=(kernel, bias))
    return learned, history, {"source_test_accuracy": round(accuracy, 4)}


if __name__ == "__main__":
    main()
