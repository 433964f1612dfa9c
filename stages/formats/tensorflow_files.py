"""The formats that TensorFlow writes from the Keras model, whichever backend trained its weights."""

# isort: off
import os

os.environ |= {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}  # nothing here takes a GPU

from stages.network.runtime import start  # before Keras: it imports the framework quietly

# isort: on
from collections.abc import Callable
from pathlib import Path

from stages.formats import litert, saved_model
from stages.formats.card import Card
from stages.formats.serving import serving
from stages.network.finetuned_keras import read_model

WRITERS = {"litert": litert.write, "saved_model": saved_model.write}


def tensorflow_writer(finetune: Path, pretrain: Path, card: Card) -> Callable[[str, Path], None]:
    """Return what writes the fine-tuned model in one of WRITERS' formats to a path."""
    start(seed=0)
    _, model = read_model(finetune, pretrain, "finetuned")
    module = serving(model, card.contract.size, card.contract.channels)
    return lambda name, path: WRITERS[name](module, path)
