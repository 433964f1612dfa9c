"""Write the fine-tuned model to one file per format, pixels in and probabilities out, and show that each agrees.

    python -m stages.export

Reads data/finetune and, for the comparison, data/split/test.parquet. Writes data/export: the model files, model.json
(classes, what goes in, what comes out) and parity.json (how far each is from the Keras model).
"""

# isort: off
import os

# The converters take TensorFlow functions, whichever backend trained the weights. The comparison is made on the CPU:
# a GPU multiplies with fewer digits (TF32) than the formats' runtimes.
os.environ |= {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}

from stages.network.runtime import start  # before Keras: it imports the framework quietly

# isort: on
import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import keras
import numpy as np

from stages.base.params import read_section
from stages.base.stage import UserError, say, stage, whole
from stages.formats import litert, onnx_file, saved_model
from stages.formats.card import FILES, Card, write_card
from stages.formats.parity import compare, says_little
from stages.formats.runner import Runner
from stages.formats.serving import serving
from stages.images.load import load_all
from stages.images.packed import Packed
from stages.network.store import read_model
from stages.schema.export import Export

PARAMS = Path("params.yaml")
MODELS = Path("data/finetune")
TEST = Path("data/split/test.parquet")
OUT = Path("data/export")

WRITERS = {"onnx": onnx_file.write, "litert": litert.write, "saved_model": saved_model.write}


@stage("export")
def main() -> None:
    """Write each format, compare it, keep all or nothing."""
    params = read_section(PARAMS, "export", Export)
    start(seed=0)
    model, info = read_model(MODELS, "finetuned")
    split = Packed(TEST)
    if not len(split):
        raise UserError(f"{TEST} holds no image to compare the formats on. Leave some with split.test, such as 'rest'.")
    sources = split.sources()[: params.parity_images]  # rows lie in random order, so these are of all classes
    pixels = np.stack(list(load_all(islice(split.images(), len(sources)), info.contract)))
    expected = predict(model, pixels)
    if says_little(expected, params.max_difference):
        say("note: the network gives all test images the same probabilities, so comparing them shows little")

    card = Card(info.classes, info.contract, [name for name in FILES if name in params.formats])
    module = serving(model, info.contract.size, info.contract.channels)
    report = {}
    with whole(OUT) as folder:
        write_card(folder, card)
        for name in reversed(card.formats):  # SavedModel first: it numbers its functions on from what ran before
            file = folder / FILES[name]
            WRITERS[name](module, file)
            received = Runner(folder, name).probabilities(pixels)
            parity = compare(name, expected, received, params.max_difference, sources)
            report[name] = asdict(parity)
            say(
                f"{OUT / FILES[name]}: {size_of(file)}; {len(sources)} test images: probabilities within "
                f"{parity.largest_difference:.2g} of the Keras model's, {parity.equal_labels:.1%} of the labels equal"
            )
        content = {"bound": params.max_difference, "images": len(sources), "formats": report, "sources": sources}
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / "parity.json").write_text(text, encoding="utf-8")


def predict(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """Return the Keras model's probabilities, float32 (n, classes)."""
    batches = np.array_split(pixels, -(-len(pixels) // 16))  # bounds the memory that feature maps take
    logits = np.concatenate([keras.ops.convert_to_numpy(model(batch, training=False)) for batch in batches])
    return np.asarray(keras.ops.softmax(logits.astype(np.float32)))


def size_of(path: Path) -> str:
    """Return the size of a file, or of all files in a folder, for people to read."""
    files = [path, *path.rglob("*")]
    size = sum(file.stat().st_size for file in files if file.is_file())
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


if __name__ == "__main__":
    main()
