"""The formats that Keras and TensorFlow write from the Keras model, whichever backend trained it."""

# isort: off
import os

os.environ |= {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}  # nothing here takes a GPU

from stages.compute.runtime import start  # before Keras: it imports the framework quietly

# isort: on
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from stages.compute.serving import make_serving_module, write_litert, write_saved_model
from stages.formats.card import Card
from stages.formats.keras_file import write_keras
from stages.transfer.model_pair_keras import read_model


def make_tensorflow_writers(
    finetune: Path, pretrain: Path, card: Card, rows: np.ndarray | None = None
) -> dict[str, Callable[[Path], None]]:
    """Return functions that write the fine-tuned model to a path, by format.

    Args:
        finetune: folder that ``finetune`` wrote.
        pretrain: folder that ``pretrain`` wrote.
        card: of the model.
        rows: images to calibrate int8 with, as ``write_litert`` takes them.
    """
    start(seed=0)
    model = read_model(finetune, pretrain, "finetuned", from_pixels=True)
    module = make_serving_module(model, card.contract.size, card.contract.channels)
    return {
        "litert": partial(write_litert, module),
        "litert_float16": partial(write_litert, module, precision="float16"),
        "litert_int8": partial(write_litert, module, precision="int8", rows=rows),
        "saved_model": partial(write_saved_model, module),
        "keras": partial(write_keras, finetune, pretrain, card),
    }
