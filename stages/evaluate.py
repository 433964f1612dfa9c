"""Predict the test split with both models, and measure them.

    python -m stages.evaluate

Writes to data/evaluate/: predictions.parquet (each test image, both models), metrics.json, per_class.csv, and of the
fine-tuned model confusion.csv, outcomes.csv (for `dvc plots`) and examples.parquet (small pictures, for the report).
"""

# isort: off
from stages.network.runtime import start  # first: it imports the framework quietly

# isort: on
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stages.base.params import read_section
from stages.base.stage import UserError, progress, say, stage, whole
from stages.images.contract import Contract
from stages.images.load import load, load_all
from stages.images.packed import Packed
from stages.images.thumbnail import as_png, thumbnail
from stages.measure.examples import choose_examples
from stages.measure.metrics import confusion, measure, per_class, softmax
from stages.network.both import predict, read_both
from stages.schema.compute import Compute
from stages.schema.evaluate import Evaluate

PARAMS = Path("params.yaml")
TEST = Path("data/split/test.parquet")
FINETUNE = Path("data/finetune")
EVALUATE = Path("data/evaluate")

EXAMPLES = 100  # pictures kept of each kind, for the report to choose from


@stage("evaluate")
def main() -> None:
    """Predict, measure, write."""
    params, compute = read_section(PARAMS, "evaluate", Evaluate), read_section(PARAMS, "compute", Compute)
    start(seed=0, devices=compute.devices)
    split, both = Packed(TEST), read_both(FINETUNE, compute.precision)
    info = both.info
    if split.classes != info.classes:
        raise UserError(f"{TEST} holds the classes {split.classes}, the model knows {info.classes}. Run `dvc repro`.")
    if not len(split):
        raise UserError(f"{TEST} holds no image: nothing can be measured. Leave some with split.test, such as 'rest'.")

    images = load_all(progress(split.images(), "predicting", total=len(split)), info.contract)
    keep = EVALUATE.with_name(f".kept-{EVALUATE.name}")
    logits = predict(both, images, len(split), compute.batch_size, keep, TEST)
    probabilities = {name: softmax(values) for name, values in logits.items()}
    labels = split.labels()
    metrics = measure(labels, **probabilities, confidence=params.confidence, bins=params.calibration_bins)
    predictions = tabulate(split, labels, probabilities)

    with whole(EVALUATE) as folder:
        pq.write_table(predictions, folder / "predictions.parquet")
        pq.write_table(illustrate(split, predictions, info.contract), folder / "examples.parquet")
        (folder / "metrics.json").write_text(json.dumps({"test_images": len(split), **metrics}, indent=2) + "\n")
        per_class(labels, probabilities, info.classes).to_csv(folder / "per_class.csv", index=False)
        confusion(labels, probabilities["finetuned"], info.classes).to_csv(folder / "confusion.csv")
        outcomes = predictions.select(["class", "finetuned_predicted"]).to_pandas()
        outcomes.to_csv(folder / "outcomes.csv", index=False, header=["actual", "predicted"])

    head_only, tuned, gain = ({key: 100 * value for key, value in row.items()} for row in metrics.values())
    said = "{accuracy:.1f} % ({accuracy_low:.1f} to {accuracy_high:.1f})".format_map
    say(f"{len(split)} test images: head only {said(head_only)} right, fine-tuned {said(tuned)}")
    said = "{accuracy:+.1f} points ({accuracy_low:+.1f} to {accuracy_high:+.1f})".format_map
    say(f"gain {said(gain)}; the intervals are at {params.confidence:.3g}")


def tabulate(split: Packed, labels: np.ndarray, probabilities: dict[str, np.ndarray]) -> pa.Table:
    """Return one row a test image: what it is, and what each model took it for and how surely."""
    names = np.array(split.classes, dtype=object)
    hashes = pq.read_table(TEST, columns=["sha256"])["sha256"]
    columns = {"source": split.sources(), "sha256": hashes, "label": labels, "class": names[labels]}
    for model, values in probabilities.items():
        columns[f"{model}_predicted"] = names[values.argmax(axis=1)]
        columns[f"{model}_confidence"] = values.max(axis=1).astype(np.float32)
        columns[f"{model}_probabilities"] = pa.array(list(values.astype(np.float32)), pa.list_(pa.float32()))
    return pa.table(columns)


def illustrate(split: Packed, predictions: pa.Table, contract: Contract) -> pa.Table:
    """Return pictures of some of the fine-tuned model's predictions, and of handwriting what the network sees of it."""
    table = predictions.select(["source", "class", "finetuned_predicted", "finetuned_confidence", "sha256"]).to_pandas()
    table.columns = pd.Index(["source", "class", "predicted", "confidence", "sha256"])
    chosen = choose_examples(table, EXAMPLES)
    wanted, ink = set(chosen.index), contract.form == "ink"
    pictures = {
        place: (thumbnail(image), as_png(load(image, contract)) if ink else None)
        for place, image in enumerate(split.images())
        if place in wanted
    }
    chosen["picture"] = [pictures[place][0] for place in chosen.index]
    chosen["seen"] = [pictures[place][1] for place in chosen.index]
    return pa.Table.from_pandas(chosen.drop(columns="sha256"), preserve_index=False)


if __name__ == "__main__":
    main()
