"""The formats that Keras and TensorFlow write from the Keras model, whichever backend trained it."""

# isort: off
import os

os.environ |= {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}  # nothing here takes a GPU

from stages.compute.runtime import start  # before Keras: it imports the framework quietly

# isort: on
from collections.abc import Callable
from functools import partial
from pathlib import Path

from stages.compute.serving import make_serving_module, write_litert, write_saved_model
from stages.formats.card import Card
from stages.formats.keras_file import write_keras
from stages.transfer.model_pair_keras import read_model


def make_tensorflow_writers(finetune: Path, pretrain: Path, card: Card) -> dict[str, Callable[[Path], None]]:
    """Return functions that write the fine-tuned model to a path, by format.

    Args:
        finetune: folder that ``finetune`` wrote.
        pretrain: folder that ``pretrain`` wrote.
        card: of the model.
    """
    start(seed=0)
    model = read_model(finetune, pretrain, "finetuned", from_pixels=True)
    module = make_serving_module(model, card.contract.size, card.contract.channels)
    return {
        "litert": partial(write_litert, module),
        "saved_model": partial(write_saved_model, module),
        "keras": partial(write_keras, finetune, pretrain, card),
    }
