"""Train the head on the kept features, then head and thawed layers together on the kept activations.

    python -m stages.finetune

writes data/finetune/: the weights of both models (head-only and fine-tuned), their history, and the table of layers.
"""

# isort: off
from stages.network.runtime import start  # first: it imports the framework quietly

# isort: on
from pathlib import Path

import pandas as pd

from stages.base.params import read_section
from stages.base.stage import UserError, say, stage, whole
from stages.network import build
from stages.network.freeze import layer_table, thaw
from stages.network.heads import start_from_source
from stages.network.kept import read_description, read_rows
from stages.network.pretrained import read_pretrained
from stages.network.store import write_model, write_weights
from stages.network.train import Data, Schedule, fit, join
from stages.schema.finetune import Finetune, Head, Thawed

PARAMS = Path("params.yaml")
PRETRAIN = Path("data/pretrain")
EXTRACT = Path("data/extract")
FINETUNE = Path("data/finetune")


@stage("finetune")
def main() -> None:
    """Run the stage."""
    params = read_section(PARAMS, "finetune", Finetune)
    kept = read_description(EXTRACT)
    start(params.seed)
    pretrained = read_pretrained(PRETRAIN)
    backbone = pretrained.backbone
    training, validation = kept_data("features")
    if validation is None and params.checkpoint == "best":
        raise UserError("finetune.checkpoint: 'best' needs validation images, and split.val left none. Set it to last.")
    classifier = build.head(training.inputs.shape[1], params.head.hidden, params.head.dropout, len(kept.classes))
    if params.head.initial == "source":
        start_from_source(classifier, pretrained, kept.classes)
    network = build.network(backbone, pretrained.preprocessing, kept.pooling, classifier)
    train_batchnorm = params.thawed.batchnorm == "train"
    with whole(FINETUNE) as folder:
        write_model(folder, network, kept.classes, kept.contract)
        layer_table(backbone, kept.frozen, train_batchnorm).to_csv(folder / "layers.csv", index=False)

        histories = [fit(classifier, "head", training, validation, schedule(params, params.head))]
        write_weights(folder, network, "head")
        tell(histories[0])

        if kept.frozen < kept.layers and params.thawed.epochs:
            thaw(backbone, kept.frozen, train_batchnorm)
            thawed = build.top(backbone, pretrained.preprocessing, kept.layer, kept.pooling, classifier)
            training, validation = kept_data("activations")
            histories.append(fit(thawed, "thawed", training, validation, schedule(params, params.thawed)))
            tell(histories[1])
        else:
            say("nothing is thawed (extract.freeze: all, or finetune.thawed.epochs: 0): fine-tuned is head-only")
        write_weights(folder, network, "finetuned")
        join(histories).to_csv(folder / "history.csv", index=False)


def kept_data(what: str) -> tuple[Data, Data | None]:
    """Return the training and, where there is one, the validation split of the kept ``features`` or ``activations``."""
    train, val = (
        Data(read_rows(EXTRACT / f"{name}_{what}.npy"), read_rows(EXTRACT / f"{name}_labels.npy"))
        if (EXTRACT / f"{name}_{what}.npy").exists()
        else None
        for name in ("train", "val")
    )
    assert train is not None
    return train, val


def schedule(params: Finetune, phase: Head | Thawed) -> Schedule:
    """Return how one phase trains."""
    return Schedule(
        epochs=phase.epochs,
        learning_rate=phase.learning_rate,
        batch_size=params.batch_size,
        seed=params.seed,
        keep_best=params.checkpoint == "best",
        early_stopping=params.early_stopping,
        plateau_patience=params.plateau.patience,
        plateau_factor=params.plateau.factor,
    )


def tell(history: pd.DataFrame) -> None:
    """Say how a phase went."""
    if history.empty:
        return
    kept = history[history["kept"] == 1].iloc[0]
    last = "" if pd.isna(kept["val_loss"]) else f", validation accuracy {kept['val_accuracy']:.1%}"
    accuracy = f"training accuracy {kept['accuracy']:.1%}{last}"
    say(f"{kept['phase']}: kept epoch {kept['epoch']} of {len(history)}, {accuracy}")


if __name__ == "__main__":
    main()
