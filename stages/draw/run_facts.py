"""The facts that identify a run: the network, what was trained of it and how, and how to find the commit."""

import pandas as pd

from stages.schema.finetune import Finetune
from stages.schema.pretrain import Pretrain


def describe_run(pretrain: Pretrain, finetune: Finetune, layers: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the facts, each with its name.

    Args:
        pretrain: the section of params.yaml.
        finetune: likewise.
        layers: of the backbone, with name, parameters and state.
    """
    thaws = bool((layers["state"] == "thawed").any())
    return [
        ("Backbone", f"{pretrain.network} at {pretrain.image_size} px, {_describe_weights(pretrain)}"),
        ("Frozen", _describe_freeze(layers)),
        ("Head", _describe_head(finetune)),
        *([("Thawed layers", _describe_thawed(finetune))] if thaws else []),
    ]


def name_commit(digest: str) -> str:
    """Return the git command that shows the commit of a run, the oldest that it lists.

    What stages write depends on their inputs alone, so it names no commit.

    Args:
        digest: MD5 of data/evaluate/scores.json, which dvc.lock lists.
    """
    return f"git log -S {digest} -- dvc.lock"


def _describe_weights(pretrain: Pretrain) -> str:
    if pretrain.has_weights and not pretrain.epochs:
        return f"weights of {pretrain.source}"
    return f"trained on {pretrain.source} for {pretrain.epochs} epochs" if pretrain.epochs else "with random weights"


def _describe_freeze(layers: pd.DataFrame) -> str:
    changed = layers[layers["state"] != "frozen"]
    total = layers["parameters"].sum()
    if changed.empty:
        return f"all {len(layers)} layers ({total:,} parameters); only the head trained"
    trained = layers.loc[layers["state"] == "thawed", "parameters"].sum()
    return (
        f"{len(layers) - len(changed)} of {len(layers)} layers; thawed from {changed['name'].iloc[0]} on "
        f"({trained:,} of {total:,} parameters, and the head)"
    )


def _describe_head(finetune: Finetune) -> str:
    head = finetune.head
    start = "the source's classifier" if head.initial == "source" else "new"
    if head.solver == "logistic":
        return f"{start}, fitted by logistic regression"
    layers = f", hidden layers {head.hidden}" if head.hidden else ""
    if not head.epochs:
        return f"{start}{layers}, not trained alone"
    return f"{start}{layers}, {head.epochs} epochs at most at a learning rate of {head.learning_rate:g}"


def _describe_thawed(finetune: Finetune) -> str:
    thawed, name = finetune.thawed, finetune.optimizer.name
    return (
        f"{thawed.epochs} epochs at most at a learning rate of {thawed.learning_rate:g} with {name}, batches of "
        f"{finetune.batch_size}"
    )
