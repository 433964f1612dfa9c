"""Predict the test split with both models, and measure the predictions.

    python -m stages.evaluate

Writes data/evaluate/: metrics.json (the few numbers to compare between commits, in git), scores.json (all measures of
the whole test split and of its locked images), predictions.parquet (each test image, both models), per_class.csv, and
for the fine-tuned model confusion.csv, outcomes.csv (for `dvc plots`) and examples.parquet (small pictures).
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stages.base.arrays import ArrayFile
from stages.base.errors import UserError
from stages.base.files import escape, read_json, refuse_damaged, write_json
from stages.base.folders import replace_folder
from stages.base.params import read_section, read_values
from stages.base.stage import stage
from stages.base.terminal import say
from stages.compute.backend import choose_backend
from stages.images.contract import Contract
from stages.images.load import load
from stages.images.split_file import SplitFile
from stages.images.thumbnail import encode_thumbnail, make_thumbnail
from stages.measure.comparison import report_overlap
from stages.measure.metrics import choose_examples, count_confusions, measure, measure_classes, select_key_metrics
from stages.measure.predictions import softmax, tabulate
from stages.measure.summary import describe_scores
from stages.schema.compute import Compute
from stages.schema.evaluate import Evaluate
from stages.splitting.lock_table import read_lock_table
from stages.transfer.model_pair import MODELS, predict, read_model_pair

PARAMS = Path("params.yaml")
TEST = Path("data/split/test.parquet")
SUMMARY = Path("data/split/summary.json")
LOCKED = Path("data/tables/split.csv")
PRETRAIN = Path("data/pretrain")
EXTRACT_TEST = Path("data/extract_test")
FINETUNE = Path("data/finetune")
EVALUATE = Path("data/evaluate")

EXAMPLES = 100  # pictures of each kind, for the report to choose from


@stage("evaluate")
def main() -> None:
    """Predict, measure, write."""
    params = read_section(PARAMS, "evaluate", Evaluate)
    choose_backend(*read_values(PARAMS, "compute", Compute, "backend"))
    split, pair, locked = SplitFile(TEST), read_model_pair(FINETUNE), read_lock_table(LOCKED)
    if split.classes != pair.classes:
        raise UserError(f"{TEST} holds the classes {split.classes}, the model knows {pair.classes}. Run `dvc repro`.")
    files = {name: EXTRACT_TEST / f"{name}.npy" for name in map(pair.input_of, MODELS)}
    outputs = {name: ArrayFile(path) for name, path in files.items()}
    if any(len(rows) != len(split) for rows in outputs.values()):
        raise UserError(f"{EXTRACT_TEST} was computed from other images than {TEST}. Run `dvc repro`.")

    logits = predict(FINETUNE, PRETRAIN, outputs)
    probabilities = {name: softmax(logits[name]) for name in pair.measured}
    labels, classes = split.labels(), pair.classes
    how: dict[str, Any] = {
        "compare": pair.comparable,
        "confidence": params.confidence,
        "bins": params.calibration_bins,
    }
    content: dict[str, Any] = {"test_images": len(split), **measure(labels, probabilities, **how)}
    held = np.array([locked.is_test(pixels) for pixels in split.pixels()], dtype=bool)
    if 0 < held.sum() < len(split):
        some = {name: values[held] for name, values in probabilities.items()}
        content["locked"] = {"test_images": int(held.sum()), **measure(labels[held], some, **how)}
    predictions = tabulate(split, probabilities)
    val, summary = FINETUNE / "val.parquet", read_json(SUMMARY, "images", "rejects", "duplicates")
    with refuse_damaged(val, "predictions of the validation images"):
        metrics = select_key_metrics(summary, pd.read_parquet(val) if val.exists() else None, content)

    with replace_folder(EVALUATE) as folder:
        write_json(folder / "metrics.json", metrics)
        write_json(folder / "scores.json", content)
        pq.write_table(predictions, folder / "predictions.parquet")
        pq.write_table(illustrate(split, predictions, Contract(**pair.contract)), folder / "examples.parquet")
        named = [escape(name) for name in classes]
        by_class = probabilities if pair.comparable else {"finetuned": probabilities["finetuned"]}
        measure_classes(labels, by_class, named).to_csv(folder / "per_class.csv", index=False)
        count_confusions(labels, probabilities["finetuned"], named).to_csv(folder / "confusion.csv")
        outcomes = predictions.select(["class", "finetuned_predicted"]).to_pandas().map(escape)
        outcomes.to_csv(folder / "outcomes.csv", index=False, header=["actual", "predicted"])

    for line in describe_scores(content, params.confidence):
        say(line)
    report_overlap(TEST, Path("dvc.lock"))


def illustrate(split: SplitFile, predictions: pa.Table, contract: Contract) -> pa.Table:
    """Return pictures of some of the fine-tuned model's predictions; for handwriting also what the network sees.

    Args:
        split: the test images.
        predictions: as ``stages.measure.predictions.tabulate`` returns them.
        contract: how an image file becomes pixels.
    """
    table = predictions.select(["source", "class", "finetuned_predicted", "finetuned_confidence", "sha256"]).to_pandas()
    table.columns = pd.Index(["source", "class", "predicted", "confidence", "sha256"])
    chosen = choose_examples(table, EXAMPLES)
    wanted, ink = set(chosen.index), contract.form == "ink"
    pictures = {
        place: (make_thumbnail(image, contract.range), encode_thumbnail(load(image, contract)) if ink else None)
        for place, image in enumerate(split.images())
        if place in wanted
    }
    chosen["picture"] = [pictures[place][0] for place in chosen.index]
    chosen["seen"] = [pictures[place][1] for place in chosen.index]
    return pa.Table.from_pandas(chosen.drop(columns="sha256"), preserve_index=False)


if __name__ == "__main__":
    main()
