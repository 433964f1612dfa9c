"""Write a Keras model, for ``keras.models.load_model``, and as a ``pretrain.source``."""

import json
from dataclasses import asdict
from pathlib import Path

from stages.backbones.keras_backbone import CLASSES, CONTRACT
from stages.compute.flattening import add_softmax, flatten
from stages.compute.keras_files import save_model
from stages.formats.card import Card
from stages.transfer.model_pair_keras import read_model


def write_keras(finetune: Path, pretrain: Path, card: Card, path: Path) -> None:
    """Write the fine-tuned model, from pixels 0-255 to probabilities, as a .keras file with class names and contract.

    Args:
        finetune: folder that ``finetune`` wrote.
        pretrain: folder that ``pretrain`` wrote.
        card: of the model.
        path: of the file.
    """
    network = read_model(finetune, pretrain, "finetuned", from_pixels=True)
    content = {CLASSES: card.classes, CONTRACT: asdict(card.contract)}
    extra = {name: json.dumps(value, ensure_ascii=False).encode() for name, value in content.items()}
    save_model(add_softmax(flatten(network, card.contract.size)), path, extra)
