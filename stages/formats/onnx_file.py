"""ONNX: the format that runs nearly everywhere, browsers included; the graphs that ``evaluate`` measured, joined."""

from pathlib import Path

import onnx
from onnx import helper

from stages.compute.architecture import FEATURES, GRAPH, PIXELS, pooled
from stages.compute.graphs.edit import cut, join, read, write
from stages.formats.card import INPUT, OUTPUT, Card, make_metadata
from stages.transfer.model_pair import read_finetuned


def write_onnx(finetune: Path, pretrain: Path, card: Card, path: Path) -> None:
    """Write the fine-tuned model as one ONNX file, from pixels to probabilities, with its card as metadata.

    Args:
        finetune: where ``finetune`` wrote the thawed layers and the head.
        pretrain: where ``pretrain`` wrote the backbone.
    """
    finetuned = read_finetuned(finetune)
    model, reads = read(finetune / f"{finetuned.stem('finetuned')}.onnx"), finetuned.reads("finetuned")
    if reads != PIXELS:
        reads = pooled(finetuned.pooling) if reads == FEATURES else reads
        model = join(cut(read(pretrain / GRAPH), [reads]), model)
    assert model.graph.input[0].name == INPUT
    logits = model.graph.output.pop()
    model.graph.node.append(helper.make_node("Softmax", [logits.name], [OUTPUT], OUTPUT, axis=1))
    model.graph.output.append(helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["n", len(card.classes)]))
    helper.set_model_props(model, make_metadata(card))
    onnx.checker.check_model(model)
    write(model, path)
