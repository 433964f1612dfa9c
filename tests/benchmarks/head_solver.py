"""Compare finetune.head.solver gradient and logistic: the head, and fine-tuning that starts from it.

    python -m tests.benchmarks.head_solver SHARED [--seeds 3] [--only caltech101_20 ...] [--heads]

SHARED is a folder with datasets/ (class folders) and mirror/ (MNIST, CIFAR-10, weights of MobileNetV2). Each seed
draws other images, views and weights, which all columns share. "plain" is scikit-learn's LogisticRegression with its
defaults, without augmented views. Prints the lowest, median and highest of the seeds: validation accuracy and loss, to
choose the solver by, then test accuracy. --heads skips fine-tuning.
"""

import json
import shutil
import statistics
import tempfile
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from stages import evaluate, extract, extract_test, finetune, pretrain, split
from stages.downloads.catalog import read_entry
from stages.downloads.http import RetryPolicy
from stages.fetch import fetch
from stages.images.split_file import SplitFile
from tests.benchmarks.measured import processor, table
from tests.conftest import PROJECT
from tests.helpers.command_line import command_line
from tests.helpers.copies import scores, set_params

VIEWS = 3
WEIGHTS = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
PHOTOS: dict[str, Any] = {
    "split": {"form": "photo", "polarity": "light_on_dark", "fit": "crop"},
    "pretrain": {"source": f"mirror/{WEIGHTS}", "backbone": "mobilenet_v2", "image_size": 160},
    "extract": {
        "freeze": "block_15",
        "views": VIEWS,
        "augment": {"rotation": 10, "shift": 0.08, "zoom": 0.15, "flip": "horizontal", "fill": "reflect"},
    },
    "finetune": {"head": {"epochs": 20}, "thawed": {"epochs": 6, "learning_rate": 0.00005}},
}
SMALL = {"pretrain": {**PHOTOS["pretrain"], "image_size": 96}, "split": {**PHOTOS["split"], "fit": "stretch"}}
DIGITS = {
    "pretrain": {"source": "data/fetch/mnist", "epochs": 5, "batch_size": 128},
    "extract": {"views": VIEWS},
    "finetune": {"head": {"epochs": 15}, "thawed": {"epochs": 15}},
}
# Source, images per class in train, val and test, and other params.
SETS: dict[str, tuple[str, tuple[int, int, int | str], Mapping[str, Any]]] = {
    "caltech101_20": ("datasets/caltech101_mini", (20, 10, "rest"), PHOTOS),
    "horses_zebras_20": ("datasets/horses_zebras", (20, 10, "rest"), PHOTOS),
    "cats_dogs_20": ("datasets/cats_dogs", (20, 10, 150), PHOTOS),
    "own_digits_5": ("datasets/own_digits", (5, 2, "rest"), DIGITS),
    "cifar10_50": ("mirror/cifar-10-binary-subset.tar.gz", (50, 20, 50), {**PHOTOS, **SMALL}),
    "cats_dogs_200": ("datasets/cats_dogs", (200, 50, 150), PHOTOS),
}
SOLVERS = {"gradient": 0.3, "logistic": 0.0}  # and dropout
COLUMNS = ["plain", "gradient", "logistic", "fine-tuned from gradient", "from logistic"]
Outcome = dict[str, dict[str, float]]  # validation accuracy and loss, test accuracy and loss, by column


def main() -> None:
    """Run every data set with every seed, and print the tables."""
    parser = command_line(__file__, __doc__, "shared")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--heads", action="store_true")
    arguments = parser.parse_args()
    columns = COLUMNS[: 3 if arguments.heads else None]
    found: dict[str, list[Outcome]] = {}
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            prepare(Path(folder), arguments.shared.resolve(), name)
            if arguments.heads:
                set_params(Path(folder), {"extract": {"freeze": "all"}})
            for seed in range(1, arguments.seeds + 1):
                found.setdefault(name, []).append(outcome(Path(folder), seed))
                print(json.dumps({"set": name, "seed": seed, **found[name][-1]}), flush=True)
    print(processor())
    for title, key, scale in (
        ("validation accuracy, %", "val_accuracy", 100),
        ("validation loss", "val_loss", 1),
        ("test accuracy, %", "test_accuracy", 100),
        ("test loss", "test_loss", 1),
    ):
        rows = [
            (name, *(spread([scale * seed[column][key] for seed in seeds]) for column in columns))
            for name, seeds in found.items()
        ]
        print(f"\n{title}\n{table([('', *columns), *rows])}")


def prepare(here: Path, shared: Path, name: str) -> None:
    """Write params.yaml for a data set, and run the stages that all seeds share."""
    source, amounts, changes = SETS[name]
    shutil.copy(PROJECT / "recipes" / "default.yaml", here / "params.yaml")
    (here / "mirror").symlink_to(shared / "mirror")
    set_params(here, changes)  # type: ignore[arg-type]  (it takes any mapping that it only reads)
    set_params(here, {"split": dict(zip(("train", "val", "test"), amounts, strict=True))})
    set_params(here, {"split": {"source": str(shared / source)}, "finetune": {"head": {"initial": "new"}}})
    if changes is DIGITS:
        entry = read_entry(PROJECT / "stages/downloads/catalog.yaml", "mnist")
        fetch("mnist", entry, here / "data/fetch", str(shared / "mirror"), RetryPolicy())
    pretrain.main()


def outcome(here: Path, seed: int) -> Outcome:
    """Return the results of each column for one seed."""
    set_params(here, {name: {"seed": seed} for name in ("split", "extract", "finetune")})
    for stage in (split, extract, extract_test):
        stage.main()
    found = {"plain": fit_plainly()}
    for solver, dropout in SOLVERS.items():
        set_params(here, {"finetune": {"head": {"solver": solver, "dropout": dropout}}})
        keras.utils.clear_session()
        finetune.main()
        evaluate.main()
        val, test = pd.read_parquet("data/finetune/val.parquet"), scores(here)
        for column, model in ((solver, "head"), (COLUMNS[3 + len(found) // 2], "finetuned")):
            found[column] = {
                "val_accuracy": float((val[f"{model}_predicted"] == val["class"]).mean()),
                "val_loss": float(val[f"{model}_loss"].mean()),
                "test_accuracy": test[model]["accuracy"],
                "test_loss": test[model]["log_loss"],
            }
    return found


def fit_plainly() -> dict[str, float]:
    """Return the results of scikit-learn's logistic regression, fitted without augmented views."""
    folder = Path("data/extract")
    rows, labels = (np.load(folder / f"train_{name}.npy")[::VIEWS] for name in ("features", "labels"))
    with threadpool_limits(1):
        model = LogisticRegression(max_iter=10_000).fit(rows.astype(float), labels)
    found = {}
    for name, file in (("val", folder / "val_features.npy"), ("test", Path("data/extract_test/features.npy"))):
        logits = model.decision_function(np.load(file).astype(float))
        logits = np.stack([0 * logits, logits], axis=1) if logits.ndim == 1 else logits
        known = SplitFile(Path(f"data/split/{name}.parquet")).labels()
        found[f"{name}_accuracy"] = float((logits.argmax(axis=1) == known).mean())
        found[f"{name}_loss"] = -float(log_softmax(logits, axis=1)[np.arange(len(known)), known].mean())
    return found


def spread(values: list[float]) -> str:
    """Return the lowest, median and highest value."""
    return ", ".join(f"{value:.3g}" for value in (min(values), statistics.median(values), max(values)))


if __name__ == "__main__":
    main()
