"""Compare backbones and freeze depths on one split, by the validation images.

    python -m stages sweep --depths all,block_16,-30                           of the backbone in params.yaml
    python -m stages sweep --backbones mobilenet_v2,vgg16,resnet50 --depths all,last_block --from-scratch
    python -m stages sweep --backbones vgg16=data/own/vgg16.h5,mobilenet_v2    weights of your own, and of the catalog
    python -m stages sweep                                                     after a kill: restore the workspace

Each candidate becomes a DVC experiment, sweep-NAME (see `dvc exp show`); it replaces an earlier one of that name on the
same commit. All take images of pretrain.image_size, and the depths of a backbone share one pass through its frozen
layers. Writes data/sweep/sweep.csv, and sweep.png with accuracies and learning curves. The workspace is restored at
the end, also after an interruption; when run again, what is trained comes from DVC's cache.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stages.base.errors import UserError
from stages.base.files import refuse_damaged
from stages.base.folders import replace_folder
from stages.base.params import read_section, read_values, read_yaml
from stages.base.stage import stage
from stages.compute.backend import choose_backend
from stages.draw.results import read_table
from stages.draw.sweep import draw_sweep, format_results
from stages.measure.intervals import measure_difference
from stages.measure.model_selection import describe_fitted, is_right, measure_predictions
from stages.pipeline.candidates import SCRATCH, Candidate, Sections, plan_candidates, plan_from_scratch, read_sections
from stages.pipeline.series import Series, open_series, restore_killed
from stages.schema.compute import Compute
from stages.schema.evaluate import Evaluate
from stages.transfer.activations import read_description
from stages.transfer.freeze import AS_EXTRACTED, parse_freeze

PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")
CATALOG = Path("stages/downloads/catalog.yaml")
DATA = Path("data")
OWN = Path("data/own")
BACKBONE = Path("data/pretrain/backbone.onnx")
EXTRACT = Path("data/extract")
FINETUNE = Path("data/finetune")
METRICS = Path("data/evaluate/metrics.json")
PREDICTIONS = Path("data/evaluate/predictions.parquet")
SWEEP = Path("data/sweep")


@stage("sweep")
def main() -> None:
    """Run the command."""
    started = time.monotonic()
    options = parse(sys.argv[1:])
    if restore_killed() and not (options.backbones or options.depths or options.from_scratch):
        return
    sections = read_sections(PARAMS.read_text(encoding="utf-8"), read_yaml(PARAMS))
    groups = choose_candidates(sections, options)
    confidence = read_section(PARAMS, "evaluate", Evaluate).confidence
    texts = [candidate.text for group in groups for candidate in group]
    hidden = () if options.test else ("evaluate",)
    with (
        open_series(PARAMS, LOCK, DATA, [METRICS, *OWN.glob("*.dvc")], texts, hidden) as series,
        replace_folder(SWEEP) as folder,
    ):
        outcomes = [one for group in groups for one in run_group(series, sections, group, confidence, options.test)]
        results = compare(outcomes, confidence)
        results.to_csv(folder / "sweep.csv", index=False)
        histories = {outcome.row["name"]: outcome.history for outcome in outcomes}
        draw_sweep(results, histories, confidence, folder / "sweep.png")
    shared, trained = results["shared_seconds"].sum(), results["seconds"].sum()
    print("\n".join(["", *format_results(results, len(outcomes[0].right["val"]), confidence)]))
    if sections.finetune.calibrate != "none":
        print(describe_fitted(len(outcomes[0].right["val"])))
    print(f"{shared:.0f} s for frozen passes, {trained:.0f} s after them; {time.monotonic() - started:.0f} s in total")
    if not options.test:
        print("The test split is the final exam, once you have chosen: --test shows it.")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options. The list of depths may begin with a minus.

    Args:
        arguments: of the command line.
    """
    given = list(arguments)
    for place, argument in enumerate(given[:-1]):
        if argument == "--depths":
            given[place : place + 2] = [f"--depths={given[place + 1]}", ""]
    return build_parser().parse_args(list(filter(None, given)))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--depths", type=split_list, default=[], metavar="DEPTH,…",
        help="values of extract.freeze, such as all, last_block or -2; default: that of params.yaml",
    )  # fmt: skip
    parser.add_argument(
        "--backbones", type=split_list, default=[], metavar="NAME,…",
        help="of `python -m stages backbones`, NAME=FILE with weights of your own; default: that of params.yaml",
    )  # fmt: skip
    parser.add_argument("--from-scratch", action="store_true", help="also a small network with random weights")
    parser.add_argument("--test", action="store_true", help="also show the test split")
    return parser


def split_list(text: str) -> list[str]:
    """Return the items of a list with commas."""
    items = [item.strip() for item in text.split(",")]
    if "" in items or len(set(items)) < len(items):
        raise argparse.ArgumentTypeError(f"expected different items with commas between them; received {text!r}")
    return items


def choose_candidates(sections: Sections, options: argparse.Namespace) -> list[list[Candidate]]:
    """Return the candidates in groups that share a pass through the frozen layers.

    Args:
        sections: of params.yaml.
        options: of the command line.

    Raises:
        UserError: they cannot be compared.
    """
    if sections.split.val == 0:
        raise UserError("split.val: expected validation images, because they decide; received 0.")
    here = sections.finetune.thawed.freeze
    depths = [*map(parse_freeze, options.depths)] or [sections.extract.freeze if here == AS_EXTRACTED else here]
    count = (len(options.backbones) or 1) * len(depths) + options.from_scratch
    if count < 2:
        hint = "`python -m stages layers` shows blocks and layers, `python -m stages backbones` networks."
        raise UserError(f"expected two or more candidates, such as --depths all,last_block; received {count}. {hint}")
    named = {name: source or None for name, _, source in (text.partition("=") for text in options.backbones)}
    if len(named) < len(options.backbones):
        raise UserError(f"--backbones: expected each name once; received {','.join(options.backbones)}.")
    choose_backend(*read_values(PARAMS, "compute", Compute, "backend"))
    groups = plan_candidates(sections, named, depths, read_yaml(CATALOG).keys() if named else ())
    return [*groups, [plan_from_scratch(sections)]] if options.from_scratch else groups


class Outcome(NamedTuple):
    """What a candidate gives.

    Attributes:
        row: of the table.
        right: by split, whether each image is predicted correctly.
        history: of its training.
    """

    row: dict[str, Any]
    right: dict[str, np.ndarray]
    history: pd.DataFrame


def run_group(
    series: Series, sections: Sections, group: list[Candidate], confidence: float, test: bool
) -> Iterator[Outcome]:
    """Run the candidates of a group and yield what each gives.

    Args:
        series: of runs.
        sections: of params.yaml.
        group: they share the frozen pass.
        confidence: of the intervals.
        test: whether to measure the test split.
    """
    print(f"frozen pass for {', '.join(candidate.name for candidate in group)}", flush=True)
    shared, _ = series.run(group[0].text, "extract_test")
    for candidate in group:
        print(candidate.name, flush=True)
        seconds = series.measure(f"sweep-{candidate.name}", candidate.text, [METRICS])
        outcome = read_outcome(sections, candidate, confidence, test)
        outcome.row.update(seconds=seconds, shared_seconds=round(shared, 1))
        shared = 0.0
        yield outcome


def read_outcome(sections: Sections, candidate: Candidate, confidence: float, test: bool) -> Outcome:
    """Read what the stages wrote for a candidate.

    Args:
        sections: of params.yaml.
        candidate: that ran last.
        confidence: of the intervals.
        test: whether to measure the test split.
    """
    from stages.transfer.network_summary import summarize_network  # the framework, which describing networks imports

    architecture, backbone = candidate.network
    classes, batchnorm = len(read_description(EXTRACT).classes), sections.finetune.thawed.batchnorm == "train"
    head, pooling = sections.finetune.head, sections.extract.pooling
    summary = summarize_network(architecture, backbone, pooling, head, classes, candidate.frozen, batchnorm)
    row = {
        "name": candidate.name,
        "frozen": candidate.frozen,
        "layers": len(architecture.layers),
        "parameters": summary.total,
        "trained": summary.trainable[candidate.thaws],
        "megabytes": sum(path.stat().st_size for path in (BACKBONE, FINETUNE / "head.onnx")) / 1e6,
    }
    right = {}
    for split, path in (("val", FINETUNE / "val.parquet"), ("test", PREDICTIONS))[: 1 + test]:
        with refuse_damaged(path, "predictions"):
            predictions = pd.read_parquet(path)
            right[split] = is_right(predictions).to_numpy()
            measured = measure_predictions(predictions, confidence)
        row |= {f"{'' if split == 'val' else 'test_'}{name}": value for name, value in measured.items()}
    return Outcome(row, right, read_table(FINETUNE / "history.csv"))


def compare(outcomes: Sequence[Outcome], confidence: float) -> pd.DataFrame:
    """Return the rows of all candidates with their paired differences, as ``format_results`` takes them.

    Args:
        outcomes: of the candidates.
        confidence: of the intervals.
    """
    best = min(outcomes, key=lambda outcome: outcome.row["log_loss"])
    scratch = next((outcome for outcome in outcomes if outcome.row["name"] == SCRATCH), None)
    for row, right, _ in outcomes:
        pairs = {"behind": (right["val"], best.right["val"])}
        if scratch:
            splits = {"gain": "val", "test_gain": "test"}
            pairs |= {key: (scratch.right[one], right[one]) for key, one in splits.items() if one in right}
        for name, (before, after) in pairs.items():
            alone = name != "behind" and row["name"] == SCRATCH
            differences = [np.nan] * 3 if alone else measure_difference(before, after, confidence)
            row.update(zip((name, f"{name}_low", f"{name}_high"), differences, strict=True))
    return pd.DataFrame([outcome.row for outcome in outcomes])


if __name__ == "__main__":
    main()
