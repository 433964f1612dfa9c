"""Write the fine-tuned model in each format, from pixels to probabilities, and verify it.

    python -m stages.export

Reads data/pretrain, data/finetune and, to verify, test images with their measured probabilities; with export.quantize
also training images, to calibrate with, and the validation images; with export.unknown all images of both splits.
Writes data/export: the model files, model.json (classes, inputs, outputs), preprocess.py (from image files to pixels),
examples/ (pictures with their pixels and probabilities), parity.json (the size of each file, how closely it agrees with
the measurement, and how much accuracy quantized files lose) and README.md (the model card).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

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
from stages.compute.graphs.quantize import halve_weights, quantize
from stages.draw.results import read_layers, read_matrix, read_table
from stages.draw.run_facts import describe_run, name_commit
from stages.formats.card import EXAMPLES, FILES, PREPROCESS, Card, count_bytes, write_card
from stages.formats.examples import write_examples
from stages.formats.model_card import MODEL_CARD, Measured, Origin, describe_model, describe_weights
from stages.formats.onnx_file import write_onnx
from stages.formats.parity import compare, is_uninformative
from stages.formats.preprocessing import LIBRARIES, join_preprocessing
from stages.formats.quantized import (
    check_losses,
    describe_losses,
    list_quantized,
    load_representatives,
    measure_losses,
    refuse_without_validation,
)
from stages.formats.runner import Runner
from stages.formats.unknown import LOST, Detector, fit_detector, refuse_few
from stages.images.contract import Contract
from stages.images.load import load_all
from stages.images.split_file import SplitFile
from stages.schema.evaluate import Evaluate
from stages.schema.export import QUANTIZED, Export
from stages.schema.finetune import Finetune
from stages.schema.pretrain import Pretrain
from stages.schema.split import Split
from stages.transfer.calibration import describe_calibration, read_calibration
from stages.transfer.compatibility import check_compatibility
from stages.transfer.model_pair import read_model_pair

PARAMS = Path("params.yaml")
PRETRAIN = Path("data/pretrain")
FINETUNE = Path("data/finetune")
TRAIN = Path("data/split/train.parquet")
VALIDATION = Path("data/split/val.parquet")
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
    quantized = list_quantized(formats, params.quantize)
    check_compatibility(read_architecture(PRETRAIN), formats=formats)
    calibration = describe_calibration(read_calibration(FINETUNE))
    licenses = about if isinstance(about, dict) else {}
    if quantized:
        refuse_without_validation(len(SplitFile(VALIDATION)))
    detector = find_detector(pair.pooling, contract) if params.unknown != "none" else None
    unknown = detector.describe() if detector else {}
    card = Card(pair.classes, contract, [*formats, *quantized], licenses, calibration, unknown)
    rows = load_representatives(SplitFile(TRAIN), contract) if "int8" in params.quantize else None
    write = make_writers(card, rows, detector)
    report, smaller = {}, {}
    with replace_folder(OUT) as folder:
        write_card(folder, card)
        (folder / MODEL_CARD).write_text(
            describe_model(card, params.license, find_origin(source, pair.depth is not None), read_measured()),
            encoding="utf-8",
        )
        (folder / PREPROCESS).write_text(join_preprocessing(contract, list_installed(LIBRARIES)), encoding="utf-8")
        for name in reversed(formats):  # SavedModel first: it numbers its functions from what ran before
            write[name](folder / FILES[name])
            runner = Runner(folder, name)
            probabilities, distances = runner.predict(pixels)
            parity = compare(name, expected, probabilities, params.max_difference, sources)
            size = count_bytes(folder, name)
            report[name] = {"bytes": size, **asdict(parity)}
            if distances is not None:
                report[name]["taken_for_unknown"] = float(np.mean(distances > 1))
            say(
                f"{OUT / FILES[name]}: {format_size(size)}; on {len(sources)} test images, probabilities differ by at "
                f"most {parity.largest_difference:.2g} from those of evaluate; {parity.equal_labels:.1%} of the "
                f"predicted classes are equal"
            )
        if detector:
            for line in describe_detector(detector, report["onnx"]["taken_for_unknown"], len(sources), card.formats):
                say(line)
        write_examples(folder / EXAMPLES, contract, runner.probabilities)
        for name in quantized:
            write[name](folder / FILES[name])
        if quantized:
            smaller = {"quantized": compare_quantized(folder, formats, quantized, params.max_accuracy_loss)}
        content = {"bound": params.max_difference, "images": len(sources), "formats": report, **smaller}
        write_json(folder / "parity.json", {**content, "sources": sources})


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
    images = read_json(SUMMARY, "images")["images"]
    run = describe_run(pretrain, finetune, read_layers(LAYERS, thawed))
    return Origin(source, images, run, describe_weights(pretrain), name_commit(hash_file(SCORES, "md5")))


def find_detector(pooling: str, contract: Contract) -> Detector:
    """Return what tells unknown images; raise UserError if there are too few validation images.

    Args:
        pooling: how feature maps become features.
        contract: how an image file becomes pixels.
    """
    train, validation = SplitFile(TRAIN), SplitFile(VALIDATION)
    refuse_few(len(validation))
    return fit_detector(PRETRAIN, pooling, train, validation, contract)


def describe_detector(detector: Detector, lost: float, images: int, formats: Sequence[str]) -> Iterator[str]:
    """Yield lines on what tells unknown images.

    Args:
        detector: of the ONNX file.
        lost: share of the test images that it takes for unknown.
        images: test images.
        formats: all that are written.
    """
    yield (
        f"unknown images: a distance from {detector.trained} training images, {format_size(detector.bytes)}; its limit "
        f"is to lose {100 * LOST:.0f} % of images of the known classes, by {detector.validated} validation images; of "
        f"{images} test images it loses {100 * lost:.1f} %"
    )
    if others := [name for name in formats if name != "onnx"]:
        yield f"note: {' and '.join(others)}: only onnx has the output that tells unknown images"


def make_writers(card: Card, rows: np.ndarray | None, detector: Detector | None) -> dict[str, Callable[[Path], None]]:
    """Return functions that write the model to a path, by format; only formats that need the framework import it.

    Args:
        card: of the model.
        rows: images to calibrate with; None without int8.
        detector: of unknown images, for ONNX in float32.
    """
    write = partial(write_onnx, FINETUNE, PRETRAIN, card)
    found: dict[str, Callable[[Path], None]] = {
        "onnx": partial(write, distance=detector.distance if detector else None),
        "onnx_float16": partial(write, change=halve_weights),
    }
    if rows is not None:
        found["onnx_int8"] = partial(write, change=partial(quantize, rows=rows))
    if set(card.formats) - set(found):
        from stages.formats.tensorflow_files import make_tensorflow_writers

        found |= make_tensorflow_writers(FINETUNE, PRETRAIN, card, rows)
    return found


def compare_quantized(folder: Path, formats: list[str], quantized: list[str], bound: float) -> dict[str, Any]:
    """Compare the quantized files with a float32 file on the validation images; return what parity.json says of them.

    Args:
        folder: of the exported model.
        formats: in float32.
        quantized: the others.
        bound: the largest loss of accuracy allowed.
    """
    (confidence,) = read_values(PARAMS, "evaluate", Evaluate, "confidence")
    losses = measure_losses(folder, formats[0], quantized, SplitFile(VALIDATION), confidence)
    for line in describe_losses(OUT, losses):
        say(line)
    if plain := [name for name in formats if name not in QUANTIZED]:
        say(f"note: {' and '.join(plain)}: only onnx and litert have quantized files")
    check_losses(losses, bound)
    return {"bound": bound, **asdict(losses)}


if __name__ == "__main__":
    main()
