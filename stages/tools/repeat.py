"""Repeat the experiment with other training images, views and weights, and bound the accuracy over all of them.

    python -m stages repeat --seeds 5                           params.yaml as it is, and four repetitions
    python -m stages repeat --seeds 5 --vary views,weights      always with the same training images

The test images stay the same. split.train_seed draws other training and validation images from those that the test
split leaves, extract.seed other views, and finetune.seed other weights of the head and another order of the images. A
backbone with random weights varies as well (pretrain.seed); one that was pretrained, by others or by pretrain, stays,
and so does the pass over the test images. Each run becomes a DVC experiment, repeat-1, repeat-2 and so on. Writes
data/repeat/runs.csv and data/repeat/intervals.csv. Like `python -m stages sweep`, it restores the workspace at the end,
and takes from DVC's cache what is trained already.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.backbones.source import find_source
from stages.base.errors import UserError
from stages.base.files import read_json, refuse_damaged
from stages.base.folders import replace_folder
from stages.base.params import read_section, read_yaml
from stages.base.stage import stage
from stages.base.table import format_table
from stages.measure.intervals import bound_accuracy, measure_difference
from stages.measure.model_selection import describe_fitted, is_right, measure_predictions
from stages.measure.repeated import bound_over_runs
from stages.pipeline.candidates import Sections, read_sections
from stages.pipeline.recipes import apply_recipe
from stages.pipeline.series import Series, open_series, restore_killed
from stages.schema.evaluate import Evaluate
from stages.schema.pretrain import SOURCE, Pretrain

PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")
DATA = Path("data")
OWN = Path("data/own")
SUMMARY = Path("data/split/summary.json")
VAL = Path("data/finetune/val.parquet")
METRICS = Path("data/evaluate/metrics.json")
PREDICTIONS = Path("data/evaluate/predictions.parquet")
REPEAT = Path("data/repeat")

CHOICES = ("images", "views", "weights")
MODELS = {"head": "head only", "finetuned": "fine-tuned"}


@stage("repeat")
def main() -> None:
    """Run the command."""
    started = time.monotonic()
    options = build_parser().parse_args()
    restore_killed()
    if options.seeds < 2:
        raise UserError(
            f"--seeds: expected 2 or more, because the variation is between runs; received {options.seeds}."
        )
    sections = read_sections(PARAMS.read_text(encoding="utf-8"), read_yaml(PARAMS))
    seeds = [choose_seeds(sections, options.vary, number) for number in range(options.seeds)]
    texts = [apply_recipe(sections.text, json.dumps(changes), "repeat") for changes in seeds]
    confidence = read_section(PARAMS, "evaluate", Evaluate).confidence
    with (
        open_series(PARAMS, LOCK, DATA, [METRICS, *OWN.glob("*.dvc")], texts) as series,
        replace_folder(REPEAT) as folder,
    ):
        runs, tables = run_all(series, texts, confidence)
        intervals = measure_runs(tables, confidence)
        runs.to_csv(folder / "runs.csv", index=False)
        intervals.to_csv(folder / "intervals.csv", index=False)
        images = read_json(SUMMARY, "images", "unused")
    print("\n".join(["", *format_runs(runs), "", *format_intervals(intervals, confidence)]))
    if sections.finetune.calibrate != "none":
        print(describe_fitted(images["images"]["val"]))
    print(describe_draws(images["images"], images["unused"], options.vary))
    print(f"{time.monotonic() - started:.0f} s in total")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages repeat", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="how many runs; default: 5")
    parser.add_argument(
        "--vary", type=split_choices, default=CHOICES, metavar="WHAT,…",
        help=f"of {', '.join(CHOICES)}; default: all of them",
    )  # fmt: skip
    return parser


def split_choices(text: str) -> tuple[str, ...]:
    """Return the items of a list with commas."""
    items = tuple(text.split(","))
    if not set(items) <= set(CHOICES):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(CHOICES)}; received {text!r}")
    return items


def choose_seeds(sections: Sections, vary: tuple[str, ...], number: int) -> dict[str, dict[str, int]]:
    """Return the changes of params.yaml for a run; none for the first.

    Args:
        sections: of params.yaml.
        vary: some of CHOICES.
        number: of the run, from 0.
    """
    if number == 0:
        return {}
    split, extract, finetune = sections.split, sections.extract, sections.finetune
    drawn = split.seed if split.redraw is None else split.redraw
    seeds = {"images": {"split": {"train_seed": drawn}}, "views": {"extract": {"seed": extract.seed}}}
    seeds["weights"] = {"finetune": {"seed": finetune.seed}}
    if has_random_weights(sections.pretrain):
        seeds["weights"]["pretrain"] = {"seed": sections.pretrain.seed}
    return {
        section: {key: (seed + number) % 2**32 for key, seed in keys.items()}
        for what in vary
        for section, keys in seeds[what].items()
    }


def has_random_weights(pretrain: Pretrain) -> bool:
    """Return whether the backbone is neither pretrained nor loaded."""
    fetched = pretrain.source.endswith("_imagenet")  # it may not be there yet
    if pretrain.epochs or pretrain.backbone == SOURCE or fetched:
        return False
    return not Path(pretrain.source).exists() or find_source(pretrain).kind == "data_set"


def run_all(series: Series, texts: list[str], confidence: float) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Run the pipeline with each params.yaml; return a row for each, and their predictions for the test images.

    Args:
        series: of runs.
        texts: of params.yaml.
        confidence: of the intervals.
    """
    rows, tables = [], []
    for number, text in enumerate(texts, start=1):
        print(f"run {number} of {len(texts)}", flush=True)
        seconds = series.measure(f"repeat-{number}", text, [METRICS])
        row: dict[str, Any] = {"run": number}
        if VAL.exists():
            with refuse_damaged(VAL, "predictions"):
                measured = measure_predictions(pd.read_parquet(VAL), confidence)
            row |= {f"val_{name}": measured[name] for name in ("log_loss", "accuracy")}
        with refuse_damaged(PREDICTIONS, "predictions"):
            tables.append(pd.read_parquet(PREDICTIONS))
            right = {name: is_right(tables[-1], name).mean() for name in list_models(tables[-1])}
        row |= {f"test_{name}": accuracy for name, accuracy in right.items()}
        rows.append(row | {"seconds": seconds})
    if any(list(table["sha256"]) != list(tables[0]["sha256"]) for table in tables):
        raise UserError("expected the same test images in each run; the data set changed meanwhile. Run it again.")
    return pd.DataFrame(rows), tables


def list_models(predictions: pd.DataFrame) -> list[str]:
    """Return the models that were measured."""
    return [model for model in MODELS if f"{model}_predicted" in predictions]


def measure_runs(tables: list[pd.DataFrame], confidence: float) -> pd.DataFrame:
    """Return the test accuracy of each model over all runs, and of the gain if there are two different models.

    Args:
        tables: predictions of each run, for the same images.
        confidence: of the intervals.

    Returns:
        Columns model, lowest, median, highest and mean; low and high: of the interval over images and runs; alone_low
        and alone_high: over images alone, of the run in the middle.
    """
    right = {name: np.stack([is_right(table, name) for table in tables]) for name in list_models(tables[0])}
    values = {MODELS[name]: rows.astype(float) for name, rows in right.items()}
    if len(right) == 2:
        values["gain"] = values["fine-tuned"] - values["head only"]
        if not values["gain"].any():  # nothing was thawed
            del values["gain"], values["fine-tuned"]
    rows = []
    for name, value in values.items():
        of_run = value.mean(axis=1)
        middle = int(np.argsort(of_run, kind="stable")[(len(of_run) - 1) // 2])
        if name == "gain":
            _, *alone = measure_difference(right["head"][middle], right["finetuned"][middle], confidence)
        else:
            alone = list(bound_accuracy(int(value[middle].sum()), value.shape[1], confidence))
        ends = bound_over_runs(value, confidence, gain=name == "gain")
        span = of_run.min(), np.median(of_run), of_run.max(), of_run.mean()
        rows.append((name, *span, *ends, *alone))
    columns = ["model", "lowest", "median", "highest", "mean", "low", "high", "alone_low", "alone_high"]
    return pd.DataFrame(rows, columns=columns)


def format_runs(runs: pd.DataFrame) -> list[str]:
    """Return a table of the runs.

    Args:
        runs: as ``run_all`` returns them.
    """
    header = [str(name).replace("_", " ").replace("finetuned", "fine-tuned") for name in runs]
    rows = [header]
    for row in runs.to_dict("records"):
        cells = [str(row["run"])]
        for name in list(row)[1:-1]:
            cells.append(f"{row[name]:.4f}" if name == "val_log_loss" else f"{100 * row[name]:.1f} %")
        rows.append([*cells, "cached" if np.isnan(row["seconds"]) else f"{row['seconds']:.0f}"])
    return format_table(rows, right=range(1, len(header)))


def format_intervals(intervals: pd.DataFrame, confidence: float) -> list[str]:
    """Return a table of the test accuracies over all runs, in percent.

    Args:
        intervals: as ``measure_runs`` returns them.
        confidence: of the intervals.
    """
    level = f"{100 * confidence:.4g} %"
    rows = [("test accuracy", "lowest", "median", "highest", "mean", f"{level} over images and runs", "images alone")]
    for row in intervals.to_dict("records"):
        sign = "+" if row["model"] == "gain" else ""
        numbers = {name: f"{100 * value:{sign}.1f}" for name, value in row.items() if name != "model"}
        ends = (f"{numbers[f'{name}low']} to {numbers[f'{name}high']}" for name in ("", "alone_"))
        rows.append((row["model"], *(numbers[name] for name in ("lowest", "median", "highest", "mean")), *ends))
    return format_table(rows, right=range(1, 7))


def describe_draws(images: dict[str, int], unused: int, vary: tuple[str, ...]) -> str:
    """Return a sentence on what varied.

    Args:
        images: of each split.
        unused: images that no split takes.
        vary: some of CHOICES.
    """
    said = f"the same {images['test']} test images in each run; varied: {', '.join(vary)}"
    pool = images["train"] + images["val"] + unused
    if "images" in vary:
        said += f". The {images['train']} training images are drawn from the {pool} that the test split leaves"
    if "images" in vary and images["train"] == pool:
        said += ", all of them, so they are the same in each run"
    return said


if __name__ == "__main__":
    main()
