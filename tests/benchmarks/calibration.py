"""Measure finetune.calibrate: what a temperature changes on test images, and how many validation images it needs.

    python -m tests.benchmarks.calibration SHARED [--seeds 3] [--only default ...]

SHARED is a folder with datasets/ and mirror/, as head_solver takes it. Each seed draws other images, views and weights.
Prints for the head-only and the fine-tuned model the lowest, median and highest of the seeds: temperature, and test log
loss and calibration error without and with it. Then the mean test log loss of the fine-tuned model with temperatures
fitted on DRAWS random choices of so many validation images, and the share of them that are worse than no temperature.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from stages import evaluate, extract, extract_test, finetune, pretrain, split
from stages.downloads.catalog import read_entry
from stages.downloads.http import RetryPolicy
from stages.fetch import fetch
from stages.measure.predictions import compute_losses, softmax
from stages.measure.temperature import fit_temperature
from tests.benchmarks import head_solver
from tests.benchmarks.head_solver import spread
from tests.benchmarks.measured import processor, table
from tests.conftest import PROJECT
from tests.helpers.command_line import command_line
from tests.helpers.copies import scores, set_params

DEFAULT = "default"
SETS = [DEFAULT, "cats_dogs_200", "caltech101_20", "cifar10_50"]
SIZES = (10, 20, 50, 100, 200)
DRAWS = 200
MODELS = {"head": "head only", "finetuned": "fine-tuned"}
NUMBERS = ("temperature", "uncalibrated_log_loss", "log_loss", "uncalibrated_calibration_error", "calibration_error")


def main() -> None:
    """Run every data set with every seed, and print the tables."""
    parser = command_line(__file__, __doc__, "shared")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SETS, default=SETS)
    arguments = parser.parse_args()
    rows = [("", "val images", "accuracy, %", "temperature", "log loss", "with it", "calibration error", "with it")]
    drawn = [("", "no temperature", *(f"{size} images" for size in SIZES))]
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            prepare(Path(folder), arguments.shared.resolve(), name)
            found, losses = [], []
            for seed in range(1, arguments.seeds + 1):
                found.append(run(Path(folder), seed))
                losses.append(dict(draw(seed)))
                print(json.dumps({"set": name, "seed": seed, **found[-1], "draws": losses[-1]}), flush=True)
        images = str(found[0]["val"])
        for model, words in MODELS.items():
            values = [[one[model][number] for one in found] for number in NUMBERS]
            accuracy = spread([100 * one[model]["accuracy"] for one in found])
            rows.append((f"{name}, {words}", images, accuracy, *map(spread, values)))
        cells = []
        for size in (0, *SIZES):
            known = [one[size] for one in losses if size in one]
            mean, worse = (np.mean([one[place] for one in known]) if known else np.nan for place in (0, 1))
            cells.append("" if not known else f"{mean:.4f}" + f" ({100 * worse:.0f} % worse)" * (size > 0))
        drawn.append((name, *cells))
    print(f"{processor()}\n\n{table(rows)}\n\n{table(drawn)}")


def prepare(here: Path, shared: Path, name: str) -> None:
    """Write params.yaml for a data set, and run the stages that all seeds share."""
    if name == DEFAULT:
        shutil.copy(PROJECT / "recipes" / "default.yaml", here / "params.yaml")
        for item in ("digits", "paper_digits"):
            entry = read_entry(PROJECT / "stages/downloads/catalog.yaml", item)
            fetch(item, entry, here / "data/fetch", "", RetryPolicy())
        pretrain.main()
    else:
        head_solver.prepare(here, shared, name)
        set_params(here, {"finetune": {"head": {"solver": "logistic", "dropout": 0.0}}})
    set_params(here, {"finetune": {"calibrate": "temperature"}})


def run(here: Path, seed: int) -> dict[str, Any]:
    """Return the number of validation images and the scores of both models on the test images."""
    set_params(here, {name: {"seed": seed} for name in ("split", "extract", "finetune")})
    keras.utils.clear_session()
    for stage in (split, extract, extract_test, finetune, evaluate):
        stage.main()
    return {"val": len(pd.read_parquet("data/finetune/val.parquet")), **{name: scores(here)[name] for name in MODELS}}


def draw(seed: int) -> Iterator[tuple[int, tuple[float, float]]]:
    """Yield for each size the mean test log loss over all draws, and the share that is worse than no temperature.

    Size 0 is no temperature.
    """
    temperatures = json.loads(Path("data/finetune/calibration.json").read_text())["temperatures"]
    files = ("data/finetune/val.parquet", "data/evaluate/predictions.parquet")
    (val, known), (test, labels) = (read_logits(Path(file), temperatures["finetuned"]) for file in files)
    rng = np.random.default_rng(seed)
    without = measure(labels, test)
    yield 0, (without, 0.0)
    for size in SIZES:
        if size <= len(val):
            chosen = [rng.permutation(len(val))[:size] for _ in range(DRAWS if size < len(val) else 1)]
            losses = [measure(labels, test / fit_temperature(known[some], val[some]).value) for some in chosen]
            yield size, (float(np.mean(losses)), float(np.mean(np.array(losses) > without)))


def read_logits(path: Path, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Return uncalibrated logits, up to a constant in each row, and labels."""
    rows = pd.read_parquet(path)
    probabilities = np.stack(rows["finetuned_probabilities"].to_list()).astype(np.float64)
    return temperature * np.log(np.maximum(probabilities, 1e-40)), rows["label"].to_numpy()


def measure(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the log loss."""
    return float(compute_losses(labels, softmax(logits)).mean())


if __name__ == "__main__":
    main()
