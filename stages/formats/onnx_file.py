"""ONNX, which runs nearly everywhere, including browsers: the graphs that ``evaluate`` measured, joined."""

from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import helper

from stages.compute.exported import INPUT, OUTPUT
from stages.compute.graphs.edit import write
from stages.formats.card import Card, make_metadata
from stages.formats.unknown import add_distance
from stages.measure.distance import Distance
from stages.transfer.model_pair import join_graphs, join_with_features

Change = Callable[[onnx.ModelProto], onnx.ModelProto]


def write_onnx(
    finetune: Path,
    pretrain: Path,
    card: Card,
    path: Path,
    change: Change | None = None,
    distance: Distance | None = None,
) -> None:
    """Write the fine-tuned model as one ONNX file, from pixels to probabilities, with its card as metadata.

    Args:
        finetune: folder that ``finetune`` wrote.
        pretrain: folder that ``pretrain`` wrote.
        card: of the model.
        path: of the file.
        change: makes another model of it, such as a smaller one.
        distance: of the features of the frozen network; the file gets it as a second output.
    """
    model, features = join_with_features(finetune, pretrain) if distance else (join_graphs(finetune, pretrain), "")
    assert model.graph.input[0].name == INPUT
    logits = model.graph.output.pop()
    model.graph.node.append(helper.make_node("Softmax", [logits.name], [OUTPUT], OUTPUT, axis=1))
    model.graph.output.append(helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["n", len(card.classes)]))
    if distance:
        add_distance(model, features, distance)
    helper.set_model_props(model, make_metadata(card))
    model = change(model) if change else model
    onnx.checker.check_model(model)
    write(model, path)
