"""Predict the test split with both models, and measure the predictions.

    python -m stages.evaluate

Writes data/evaluate/: metrics.json (the few numbers to compare between commits, in git), scores.json (all measures of
the whole test split and of its locked images), predictions.parquet (each test image, both models), per_class.csv, and
for the fine-tuned model confusion.csv, reliability.csv, outcomes.csv (for `dvc plots`) and examples.parquet (small
pictures).
"""

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from stages.base.arrays import ArrayFile
from stages.base.errors import UserError
from stages.base.files import escape, read_json, refuse_damaged, write_json
from stages.base.folders import replace_folder
from stages.base.params import read_section, read_values
from stages.base.stage import stage
from stages.base.terminal import say
from stages.compute.architecture import read_architecture
from stages.compute.backend import choose_backend
from stages.compute.graphs.session import Graph
from stages.explain.examples import make_examples
from stages.explain.explainer import Explainer
from stages.images.contract import Contract
from stages.images.split_file import SplitFile
from stages.measure.comparison import report_overlap
from stages.measure.metrics import (
    count_confusions,
    measure,
    measure_calibrated,
    measure_classes,
    measure_reliability,
    select_key_metrics,
    uncalibrate,
)
from stages.measure.predictions import softmax, tabulate
from stages.measure.summary import describe_scores
from stages.schema.compute import Compute
from stages.schema.evaluate import Evaluate
from stages.splitting.lock_table import read_lock_table
from stages.transfer.calibration import read_calibration
from stages.transfer.feature_extractor import graph_batch_size
from stages.transfer.model_pair import MODELS, join_graphs, predict, read_model_pair

PARAMS = Path("params.yaml")
TEST = Path("data/split/test.parquet")
SUMMARY = Path("data/split/summary.json")
LOCKED = Path("data/tables/split.csv")
PRETRAIN = Path("data/pretrain")
EXTRACT_TEST = Path("data/extract_test")
FINETUNE = Path("data/finetune")
EVALUATE = Path("data/evaluate")


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
    temperatures = read_calibration(FINETUNE).temperatures
    for name, temperature in temperatures.items():
        content[name] |= measure_calibrated(labels, logits[name], temperature, params.calibration_bins)
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
        examples = make_examples(split, predictions, Contract(**pair.contract), open_explainer())
        pq.write_table(examples, folder / "examples.parquet")
        named = [escape(name) for name in classes]
        by_class = probabilities if pair.comparable else {"finetuned": probabilities["finetuned"]}
        measure_classes(labels, by_class, named).to_csv(folder / "per_class.csv", index=False)
        reliability = tabulate_reliability(labels, logits["finetuned"], temperatures.get("finetuned"), params)
        reliability.to_csv(folder / "reliability.csv", index=False)
        count_confusions(labels, probabilities["finetuned"], named).to_csv(folder / "confusion.csv")
        outcomes = predictions.select(["class", "finetuned_predicted"]).to_pandas().map(escape)
        outcomes.to_csv(folder / "outcomes.csv", index=False, header=["actual", "predicted"])

    for line in describe_scores(content, params.confidence):
        say(line)
    report_overlap(TEST, Path("dvc.lock"))


def tabulate_reliability(
    labels: np.ndarray, logits: np.ndarray, temperature: float | None, params: Evaluate
) -> pd.DataFrame:
    """Return the reliability of a model; of a calibrated one also without its temperature ("calibrated" is then 0).

    Args:
        labels: int (n,), the actual classes.
        logits: (n, classes).
        temperature: that divides them; None if the model is not calibrated.
        params: the section of params.yaml.
    """
    how = params.calibration_bins, params.confidence
    table = measure_reliability(labels, softmax(logits), *how)
    if temperature is None:
        return table
    before = measure_reliability(labels, uncalibrate(logits, temperature), *how)
    return pd.concat([table.assign(calibrated=1), before.assign(calibrated=0)])


def open_explainer() -> Explainer:
    """Return what shows where the fine-tuned model looks."""
    model, size = join_graphs(FINETUNE, PRETRAIN), graph_batch_size(read_architecture(PRETRAIN))
    graph = cache(partial(Graph, model, size))  # not opened unless maps are made by occlusion
    return Explainer(model, lambda pixels: softmax(next(iter(graph()(pixels).values()))), size)


if __name__ == "__main__":
    main()
