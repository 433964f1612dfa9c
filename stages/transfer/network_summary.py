"""Summarize a network layer by layer, like Keras's ``Model.summary``: what is frozen, and what each phase trains."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stages.base.table import fit_table, format_table
from stages.compute.architecture import Architecture, Layer, describe
from stages.compute.networks import Backbone, pool
from stages.compute.trainable import LayerFreezer, count_trainable
from stages.schema.finetune import Head
from stages.transfer.freeze import layer_table
from stages.transfer.heads import make_new_head

COLUMNS = ("index", "name", "type", "output", "params", "state")
_CUT = (COLUMNS.index("name"), COLUMNS.index("type"))
CLASSIFIER = "classifier"


@dataclass(frozen=True)
class NetworkSummary:
    """A network: the layers after its backbone, and its parameter counts.

    Attributes:
        end: pooling and head, from the input on.
        keeps: whether the head starts from the source's classifier.
        per_class: parameters that each class adds, while the number of classes is unknown; otherwise 0.
        total: parameters of all layers.
        trainable: how many of them the optimizer updates, in the head phase and in the thawed phase.
    """

    end: list[Layer]
    keeps: bool
    per_class: int
    total: int
    trainable: tuple[int, int]


def summarize_network(
    architecture: Architecture,
    backbone: Backbone | None,
    pooling: str,
    params: Head,
    classes: int | None,
    frozen: int,
    train_batchnorm: bool,
) -> NetworkSummary:
    """Build the head that ``finetune`` trains, and count parameters as Keras does.

    Args:
        architecture: of the backbone.
        backbone: with any weights; its layers are frozen and thawed. None for an ONNX graph, which stays frozen.
        pooling: how feature maps become features.
        params: ``finetune.head``.
        classes: how many; None if unknown.
        frozen: how many layers of the backbone the thawed phase leaves frozen.
        train_batchnorm: whether thawed BatchNormalization layers train.

    Raises:
        UserError: sigmoid is asked for more than two classes.
    """
    known = 2 if params.output == "sigmoid" and classes is None else classes
    head = make_new_head(params, architecture.features(pooling), known or 1)
    end = describe(head, {}).layers[1:]
    per_class = 0 if known else next(layer.parameters for layer in end if layer.name == CLASSIFIER)
    if len(architecture.shape(architecture.output)) > 1:
        kind = architecture.layers[-1].type
        if backbone:
            kind = type(pool(backbone.model.output, pooling)._keras_history.operation).__name__
        end = [Layer(f"pooling_{pooling}", kind, tuple(head.input_shape[1:]), 0, ()), *end]
    total, trained = sum(layer.parameters for layer in architecture.layers) + head.count_params(), count_trainable(head)
    counts = [trained, trained]
    if backbone:
        freezer = LayerFreezer(backbone.model, train_batchnorm, len(backbone.model.layers) - len(architecture.layers))
        freezer.freeze(frozen)
        counts[1] += count_trainable(backbone.model)
    return NetworkSummary(
        end=end,
        keeps=params.initial == "source",
        per_class=per_class,
        total=total - per_class,
        trainable=(counts[0] - per_class, counts[1] - per_class),
    )


def format_layers(
    architecture: Architecture, frozen: int, train_batchnorm: bool, summary: NetworkSummary, width: int | None = None
) -> list[str]:
    """Return a table of layers, with block names, and a line between frozen and thawed layers.

    Args:
        architecture: of the backbone.
        frozen: how many layers are frozen.
        train_batchnorm: whether thawed BatchNormalization layers train.
        summary: with the layers after the backbone.
        width: of the terminal, to shorten long names; None to keep them.
    """
    table = layer_table(architecture, frozen, train_batchnorm).to_dict("records")
    rows = [list(COLUMNS)]
    for known, layer in zip(table, architecture.layers, strict=True):
        rows.append([str(known["index"]), *_describe(layer), known["state"]])
    for index, layer in enumerate(architecture.classifier, start=len(architecture.layers)):
        reused = summary.keeps and layer.parameters > 0  # dropout is that of finetune.head
        rows.append([str(index), *_describe(layer), "reused" if reused else "replaced"])
    for layer in summary.end:
        cells = _describe(layer)
        if summary.per_class and layer.name == CLASSIFIER:
            cells[2:] = "n", f"{summary.per_class:,} x n"
        rows.append(["", *cells, "" if layer.name.startswith("pooling") else "trained"])
    rows = fit_table(rows, _CUT, width) if width else rows
    lines = format_table(rows, right=[COLUMNS.index("index"), COLUMNS.index("params")])
    return list(_with_titles(lines, architecture, frozen, summary.keeps))


def _with_titles(lines: Sequence[str], architecture: Architecture, frozen: int, keeps: bool) -> Iterator[str]:
    """Yield the lines of the table, with titles for blocks and parts of the network."""
    blocks = {first: block for block, first in architecture.blocks.items()}
    count, cut = len(architecture.names), len(architecture.classifier)
    parts = {frozen: "thawed from here on"} if frozen < count else {}
    if cut:
        parts[count] = f"original classifier: {'the head starts from it' if keeps else 'replaced by the head'}"
    parts[count + cut] = "pooling and head"
    longest = max(map(len, lines))
    yield lines[0]
    for index, line in enumerate(lines[1:]):
        if index in parts:
            yield f"── {parts[index]} ".ljust(longest, "─")
        if index < count and architecture.names[index] in blocks:
            yield blocks[architecture.names[index]]
        yield line


def _describe(layer: Layer) -> list[str]:
    return [layer.name, layer.type, "x".join(map(str, layer.shape)), f"{layer.parameters:,}"]


def summarize_states(architecture: Architecture, frozen: int, train_batchnorm: bool) -> Iterator[str]:
    """Yield a line per state of the backbone's layers: the number of layers and of parameters.

    Args:
        architecture: of the backbone.
        frozen: how many layers are frozen.
        train_batchnorm: whether thawed BatchNormalization layers train.
    """
    table = layer_table(architecture, frozen, train_batchnorm)
    for state in ("frozen", "thawed", "inference"):
        there = table[table["state"] == state]
        if len(there) or state != "inference":
            why = " (BatchNormalization; finetune.thawed.batchnorm: frozen)" if state == "inference" else ""
            yield f"{state:<10}{len(there):>5} layers{there['parameters'].sum():>15,} parameters{why}"


def format_totals(summary: NetworkSummary, epochs: tuple[int | str, int]) -> Iterator[str]:
    """Yield a table of trainable and frozen parameters in each phase.

    Args:
        summary: the network.
        epochs: of the head phase, or its solver if that has no epochs, and of the thawed phase.
    """
    more = f" + {summary.per_class:,} x n" if summary.per_class else ""
    rows = [
        ("", "head phase", "thawed phase"),
        ("epochs", *epochs),
        ("trainable parameters", *(f"{count:,}{more}".removeprefix("0 + ") for count in summary.trainable)),
        ("frozen parameters", *(f"{summary.total - count:,}" for count in summary.trainable)),
        ("total parameters", *[f"{summary.total:,}{more}"] * 2),
    ]
    yield from format_table(rows, right=(1, 2))
    if more:
        yield "n: the number of classes, which is unknown until `dvc repro split`"
