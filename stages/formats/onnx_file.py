"""ONNX, which runs nearly everywhere, including browsers: the graphs that ``evaluate`` measured, joined."""

from pathlib import Path

import onnx
from onnx import helper

from stages.compute.architecture import FEATURES, GRAPH, PIXELS, name_features
from stages.compute.exported import INPUT, OUTPUT
from stages.compute.graphs.edit import cut, join, read, write
from stages.formats.card import Card, make_metadata
from stages.transfer.model_pair import read_model_pair


def write_onnx(finetune: Path, pretrain: Path, card: Card, path: Path) -> None:
    """Write the fine-tuned model as one ONNX file, from pixels to probabilities, with its card as metadata.

    Args:
        finetune: folder that ``finetune`` wrote.
        pretrain: folder that ``pretrain`` wrote.
        card: of the model.
        path: of the file.
    """
    pair = read_model_pair(finetune)
    model, tensor = read(finetune / f"{pair.stem('finetuned')}.onnx"), pair.input_of("finetuned")
    if tensor != PIXELS:
        tensor = name_features(pair.pooling) if tensor == FEATURES else tensor
        model = join(cut(read(pretrain / GRAPH), [tensor]), model)
    assert model.graph.input[0].name == INPUT
    logits = model.graph.output.pop()
    model.graph.node.append(helper.make_node("Softmax", [logits.name], [OUTPUT], OUTPUT, axis=1))
    model.graph.output.append(helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["n", len(card.classes)]))
    helper.set_model_props(model, make_metadata(card))
    onnx.checker.check_model(model)
    write(model, path)
