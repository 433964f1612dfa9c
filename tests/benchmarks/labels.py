"""Flip labels at random, let `python -m stages labels` find them, correct those that it shows, and train again.

    python -m tests.benchmarks.labels SHARED [--seeds 3] [--only cats_dogs]

SHARED is a folder with datasets/ (class folders) and mirror/ (weights of MobileNetV2). Each seed draws the split, and
5 % of the training and validation images, which are moved to another class. The test images are locked and stay as
they are. A reviewer who makes no mistakes decides on as many of the labels shown as twice the number of flipped ones,
worst first, in the table of corrections. The settings are those of the recipe own_photographs_mobilenet_v2. Prints the
share of the flipped labels that was found, and the test accuracy with the flipped, the corrected and the clean labels.
"""

import csv
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any
from unittest.mock import patch

import keras
import numpy as np

from stages import evaluate, extract, extract_test, finetune, pretrain, split
from stages.base.params import read_yaml
from stages.images.split_file import SplitFile
from stages.splitting.lock_table import write_rows
from stages.tools import labels, lock
from tests.benchmarks.head_solver import WEIGHTS
from tests.benchmarks.measured import processor, table
from tests.conftest import PROJECT
from tests.helpers.command_line import command_line
from tests.helpers.copies import scores, set_params

SHARE = 0.05
SETS: dict[str, tuple[int, int, int]] = {"cats_dogs": (200, 50, 150), "caltech101_mini": (20, 10, 30)}  # images a class
RECIPE = "own_photographs_mobilenet_v2"
TABLE = Path("data/tables/corrections.csv")
VARIANTS = ("flipped", "corrected", "clean")
MODELS = {"head": "head only", "finetuned": "fine-tuned"}
Found = dict[str, Any]


def main() -> None:
    """Run every data set with every seed, and print the tables."""
    parser = command_line(__file__, __doc__, "shared")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    arguments = parser.parse_args()
    found: dict[str, list[Found]] = {}
    for name in arguments.only:
        for seed in range(1, arguments.seeds + 1):
            with tempfile.TemporaryDirectory() as folder, chdir(folder):
                found.setdefault(name, []).append(run(Path(folder), arguments.shared.resolve(), name, seed))
            print(json.dumps({"set": name, "seed": seed, **found[name][-1]}), flush=True)
    print(processor())
    columns = ("", "flipped", "in the first n", "in the first 2 n", "probably wrong", "of them flipped")
    rows = [
        (name, *(spread([seed[key] for seed in seeds]) for key in ("n", "first", "second", "probable", "hits")))
        for name, seeds in found.items()
    ]
    print(f"\nlabels found, n flipped\n{table([columns, *rows])}")
    rows = [
        (f"{name}, {said}", *(spread([100 * seed[variant][model] for seed in seeds]) for variant in VARIANTS))
        for name, seeds in found.items()
        for model, said in MODELS.items()
    ]
    print(f"\ntest accuracy, %\n{table([('', *VARIANTS), *rows])}")


def run(here: Path, shared: Path, name: str, seed: int) -> Found:
    """Return what was found with one seed, and the test accuracies by variant and model."""
    prepare(here, shared, name, seed)
    found: Found = {"clean": train()}
    classes = flip(here / "data/own" / name, seed)
    found["flipped"] = train()
    with patch.object(sys, "argv", ["labels", "--write", "--top", str(2 * len(classes))]):
        labels.main()
    found |= review(classes)
    set_params(here, {"split": {"corrections": str(TABLE)}})
    return found | {"corrected": train()}


def prepare(here: Path, shared: Path, name: str, seed: int) -> None:
    """Draw a split, keep only its images, lock them, and make the backbone."""
    shutil.copy(PROJECT / "recipes" / "default.yaml", here / "params.yaml")
    set_params(here, read_yaml(PROJECT / "recipes" / f"{RECIPE}.yaml"))
    train, val, test = SETS[name]
    source, own = str(shared / "datasets" / name), here / "data/own" / name
    set_params(here, {"split": {"source": source, "train": train, "val": val, "test": test, "seed": seed}})
    set_params(here, {stage: {"seed": seed} for stage in ("extract", "finetune")})
    set_params(here, {"pretrain": {"source": str(shared / "mirror" / WEIGHTS)}})
    split.main()
    for file in ("train", "val", "test"):
        for image in SplitFile(Path(f"data/split/{file}.parquet")).sources():
            (own / image).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(source, image), own / image)
    write_rows(here / lock.LOCKED, lock.read_splits(Path("data/split")))
    set_params(here, {"split": {"source": str(own), "train": "rest"}})
    pretrain.main()


def train() -> dict[str, float]:
    """Run the experiment; return the test accuracy of the head and of the fine-tuned model."""
    keras.utils.clear_session()
    for stage in (split, extract, extract_test, finetune, evaluate):
        stage.main()
    measured = scores(Path())
    return {model: measured[model]["accuracy"] for model in MODELS}


def flip(own: Path, seed: int) -> dict[str, str]:
    """Move a share of the training and validation images to another class; return their classes by their new path."""
    splits = [SplitFile(Path(f"data/split/{name}.parquet")) for name in ("train", "val")]
    sources, classes = sorted(source for each in splits for source in each.sources()), splits[0].classes
    rng = np.random.default_rng(seed)
    moved = {}
    for place in rng.choice(len(sources), round(SHARE * len(sources)), replace=False):
        right, file = sources[place].split("/")
        others = [name for name in classes if name != right]
        path = f"{others[rng.integers(len(others))]}/{right}_{file}"
        (own / sources[place]).rename(own / path)
        moved[path] = right
    return moved


def review(classes: dict[str, str]) -> Found:
    """Fill in the right label in the rows that labels wrote; return how many of them were flipped."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if "far from" not in row["note"]]
    for row in rows:
        row["label"] = classes.get(row["image"], row["image"].split("/")[0])
    hits = [row["image"] in classes for row in rows]
    probable = ["probably wrong" in row["note"] for row in rows]
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    n = len(classes)
    return {
        **{"n": n, "first": sum(hits[:n]), "second": sum(hits[: 2 * n]), "shown": len(rows), "probable": sum(probable)},
        "hits": sum(hit for hit, sure in zip(hits, probable, strict=True) if sure),
    }


def spread(values: Sequence[float]) -> str:
    """Return the lowest, median and highest value."""
    return ", ".join(f"{value:.4g}" for value in (min(values), statistics.median(values), max(values)))


if __name__ == "__main__":
    main()
