"""Write the fine-tuned model in each format, from pixels to probabilities, and verify it.

    python -m stages.export

Reads data/pretrain, data/finetune and, to verify, test images with their measured probabilities. Writes data/export:
the model files, model.json (classes, inputs, outputs), preprocess.py (from image files to pixels), examples/ (pictures
with their pixels and probabilities), parity.json (how closely each file agrees with the measurement) and README.md (the
model card).
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from stages.base.errors import UserError
from stages.base.files import hash_file, read_json, refuse_damaged, write_json
from stages.base.folders import replace_folder
from stages.base.params import read_section, read_values
from stages.base.stage import stage
from stages.base.terminal import format_size, say
from stages.base.versions import list_installed
from stages.compute.architecture import read_architecture
from stages.draw.results import read_matrix, read_table
from stages.draw.run_facts import describe_run, name_commit
from stages.formats.card import EXAMPLES, FILES, PREPROCESS, Card, write_card
from stages.formats.examples import write_examples
from stages.formats.model_card import MODEL_CARD, Measured, Origin, describe_model, describe_weights
from stages.formats.onnx_file import write_onnx
from stages.formats.parity import compare, is_uninformative
from stages.formats.preprocessing import LIBRARIES, join_preprocessing
from stages.formats.runner import Runner
from stages.images.contract import Contract
from stages.images.load import load_all
from stages.images.split_file import SplitFile
from stages.schema.evaluate import Evaluate
from stages.schema.export import Export
from stages.schema.finetune import Finetune
from stages.schema.pretrain import Pretrain
from stages.schema.split import Split
from stages.transfer.calibration import describe_calibration, read_calibration
from stages.transfer.compatibility import check_compatibility
from stages.transfer.model_pair import read_model_pair

PARAMS = Path("params.yaml")
PRETRAIN = Path("data/pretrain")
FINETUNE = Path("data/finetune")
TEST = Path("data/split/test.parquet")
LAYERS = FINETUNE / "layers.csv"
SUMMARY = Path("data/split/summary.json")
PREDICTIONS = Path("data/evaluate/predictions.parquet")
SCORES = Path("data/evaluate/scores.json")
PER_CLASS = Path("data/evaluate/per_class.csv")
CONFUSION = Path("data/evaluate/confusion.csv")
OUT = Path("data/export")


@stage("export")
def main() -> None:
    """Write each format and compare it; publish all of them or none."""
    params = read_section(PARAMS, "export", Export)
    pair, split = read_model_pair(FINETUNE), SplitFile(TEST)
    contract = Contract(**pair.contract)
    with refuse_damaged(PREDICTIONS, "predictions of the test images"):
        table = pq.read_table(PREDICTIONS, columns=["source", "finetuned_probabilities"])
        measured = table.slice(0, params.parity_images)  # rows are in random order, so these cover all classes
        sources, expected = measured["source"].to_pylist(), np.stack(measured["finetuned_probabilities"].to_numpy())
    if sources != split.sources()[: params.parity_images]:
        raise UserError(f"{PREDICTIONS} was computed from other images than {TEST}. Run `dvc repro`.")
    pixels = np.stack(list(load_all(islice(split.images(), len(sources)), contract)))
    if is_uninformative(expected, params.max_difference):
        say("note: the network gives all test images the same probabilities, so comparing them shows little")

    source, about = read_values(PARAMS, "split", Split, "source", "about")
    formats = [name for name in FILES if name in params.formats]
    check_compatibility(read_architecture(PRETRAIN), formats=formats)
    calibration = describe_calibration(read_calibration(FINETUNE))
    card = Card(pair.classes, contract, formats, about if isinstance(about, dict) else {}, calibration)
    write = make_writers(card)
    report = {}
    with replace_folder(OUT) as folder:
        write_card(folder, card)
        (folder / MODEL_CARD).write_text(
            describe_model(card, params.license, find_origin(source, pair.depth is not None), read_measured()),
            encoding="utf-8",
        )
        (folder / PREPROCESS).write_text(join_preprocessing(contract, list_installed(LIBRARIES)), encoding="utf-8")
        for name in reversed(card.formats):  # SavedModel first: it numbers its functions from what ran before
            file = folder / FILES[name]
            write[name](file)
            runner = Runner(folder, name)
            parity = compare(name, expected, runner.probabilities(pixels), params.max_difference, sources)
            report[name] = asdict(parity)
            say(
                f"{OUT / FILES[name]}: {measure_size(file)}; on {len(sources)} test images, probabilities differ by "
                f"at most {parity.largest_difference:.2g} from those of evaluate; {parity.equal_labels:.1%} of the "
                f"predicted classes are equal"
            )
        write_examples(folder / EXAMPLES, contract, runner.probabilities)
        content = {"bound": params.max_difference, "images": len(sources), "formats": report, "sources": sources}
        write_json(folder / "parity.json", content)


def read_measured() -> Measured:
    """Return what evaluate measured."""
    (confidence,) = read_values(PARAMS, "evaluate", Evaluate, "confidence")
    scores = read_json(SCORES, "test_images", "finetuned")
    return Measured(scores, read_table(PER_CLASS), read_matrix(CONFUSION, scores["test_images"]), confidence)


def find_origin(source: str, thawed: bool) -> Origin:
    """Return where the model comes from.

    Args:
        source: split.source.
        thawed: whether anything was trained after the head.
    """
    pretrain, finetune = read_section(PARAMS, "pretrain", Pretrain), read_section(PARAMS, "finetune", Finetune)
    layers, images = read_table(LAYERS), read_json(SUMMARY, "images")["images"]
    if not thawed:
        layers["state"] = "frozen"  # with thawed.epochs: 0 whatever extract.freeze says
    run = describe_run(pretrain, finetune, layers)
    return Origin(source, images, run, describe_weights(pretrain), name_commit(hash_file(SCORES, "md5")))


def make_writers(card: Card) -> dict[str, Callable[[Path], None]]:
    """Return functions that write the model to a path, by format; only formats that need the framework import it."""
    found: dict[str, Callable[[Path], None]] = {"onnx": partial(write_onnx, FINETUNE, PRETRAIN, card)}
    if set(card.formats) - set(found):
        from stages.formats.tensorflow_files import make_tensorflow_writers

        found |= make_tensorflow_writers(FINETUNE, PRETRAIN, card)
    return found


def measure_size(path: Path) -> str:
    """Return the size of a file, or of all files in a folder, as text."""
    return format_size(sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file()))


if __name__ == "__main__":
    main()
