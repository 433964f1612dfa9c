"""Compare freeze depths: train from each of them after a single pass through the frozen layers.

    python -m stages sweep all block_16 block_13 -30    two or more values of extract.freeze
    python -m stages sweep                              restore the workspace after a sweep that was killed

Each depth becomes a DVC experiment, sweep-DEPTH (see `dvc exp show`), with params.yaml otherwise unchanged; it replaces
an earlier one of that name on the same commit. Writes data/sweep/sweep.csv, and sweep.png with accuracy and time. The
workspace is restored at the end, also after an interruption; when run again, depths that are trained come from DVC's
cache.
"""

import argparse
import json
import math
import time
from pathlib import Path

import pandas as pd

from stages.backbones.build import describe_backbone
from stages.base.errors import UserError
from stages.base.files import read_json, replace_file
from stages.base.folders import lock_folder, replace_folder
from stages.base.params import read_section, read_values
from stages.base.stage import stage
from stages.base.terminal import say
from stages.compute.backend import choose_backend
from stages.draw import tables
from stages.draw.sweep import draw_sweep, format_results, make_row
from stages.pipeline.damage import find_broken_state
from stages.pipeline.experiments import check_repository, save_experiment, stream_dvc
from stages.pipeline.recipes import apply_recipe
from stages.pipeline.workspace import BEFORE, check_outputs, preserve_workspace, restore_workspace
from stages.schema.compute import Compute
from stages.schema.evaluate import Evaluate
from stages.schema.extract import Extract
from stages.schema.finetune import Finetune
from stages.schema.pretrain import Pretrain
from stages.transfer.activations import read_description
from stages.transfer.freeze import AS_EXTRACTED, parse_freeze, plan_unfreezing, resolve_distinct

PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")
DATA = Path("data")
OWN = Path("data/own")
EXTRACT = Path("data/extract")
LAYERS = Path("data/finetune/layers.csv")
METRICS = Path("data/evaluate/metrics.json")
SCORES = Path("data/evaluate/scores.json")
SWEEP = Path("data/sweep")


@stage("sweep")
def main() -> None:
    """Run the command."""
    started = time.monotonic()
    given = [parse_freeze(text) for text in build_parser().parse_args().depths]
    if BEFORE.exists():
        with lock_folder(SWEEP):
            restore_workspace(BEFORE)
        say("restored the workspace of a sweep that was killed")
        if not given:
            return
    depths = choose_depths(PARAMS, given)
    if broken := find_broken_state(LOCK):
        raise UserError("\n".join(broken))
    check_repository()
    check_outputs()
    confidence = read_section(PARAMS, "evaluate", Evaluate).confidence
    text = PARAMS.read_text(encoding="utf-8")
    texts = {freeze: set_depths(text, list(depths), freeze) for freeze in (AS_EXTRACTED, *depths)}
    files = [METRICS, *OWN.glob("*.dvc")]
    with replace_folder(SWEEP) as folder, preserve_workspace(BEFORE, LOCK, DATA, files, PARAMS, list(texts.values())):
        print(f"frozen passes, once for {len(depths)} depths", flush=True)
        replace_file(PARAMS, texts[AS_EXTRACTED].encode())
        said = set[str]()
        shared, _ = run_pipeline("extract_test", said)
        rows = []
        for number, (freeze, frozen) in enumerate(depths.items(), start=1):
            print(f"freeze: {freeze} ({number} of {len(depths)})", flush=True)
            replace_file(PARAMS, texts[freeze].encode())
            seconds, trained = run_pipeline("evaluate", said)
            save_experiment(f"sweep-{freeze}", "evaluate", [METRICS])
            scores = read_json(SCORES, "finetuned")
            rows.append(make_row(freeze, frozen, read_description(EXTRACT), tables.read_table(LAYERS), scores))
            rows[-1]["seconds"] = round(seconds, 1) if trained else math.nan
        results = pd.DataFrame(rows)
        results.assign(shared_seconds=round(shared, 1)).to_csv(folder / "sweep.csv", index=False)
        draw_sweep(results, shared, confidence, folder / "sweep.png")
    print("\n".join(["", *format_results(results, shared, time.monotonic() - started, confidence)]))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "depths", nargs="*", metavar="DEPTH", help="value of extract.freeze: a block, a layer, a count, all or none"
    )
    return parser


def set_depths(text: str, depths: list[int | str], freeze: int | str) -> str:
    """Return params.yaml with other freeze depths.

    Args:
        text: of params.yaml.
        depths: for ``extract.depths``.
        freeze: for ``finetune.thawed.freeze``.
    """
    changes = {"extract": {"depths": depths}, "finetune": {"thawed": {"freeze": freeze}}}
    return apply_recipe(text, json.dumps(changes), "sweep")


def run_pipeline(target: str, said: set[str]) -> tuple[float, bool]:
    """Run the pipeline up to a stage; return the seconds it took, and whether finetune ran or came from the cache.

    Args:
        target: the last stage to run.
        said: lines printed at earlier depths, which are not repeated; those of this run are added.
    """
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        new = line.startswith("  ") and line not in said
        if new or line.startswith("Running stage") or "is cached" in line:
            say(line)
        said.add(line)

    started = time.monotonic()
    stream_dvc("repro", target, tell=tell)
    return time.monotonic() - started, "Running stage 'finetune':" in lines


def choose_depths(params: Path, given: list[int | str]) -> dict[int | str, int]:
    """Return how many layers each depth freezes, most first.

    Args:
        params: params.yaml.
        given: the depths to compare.

    Raises:
        UserError: the depths cannot be compared.
    """
    pretrain, finetune = read_section(params, "pretrain", Pretrain), read_section(params, "finetune", Finetune)
    read_section(params, "extract", Extract)
    if len(given) < 2:
        hint = "`python -m stages layers` shows blocks and layers."
        raise UserError(f"expected two or more depths, such as: all none; received {len(given)}. {hint}")
    if not finetune.thawed.epochs:
        raise UserError("finetune.thawed.epochs: expected 1 or more; with 0 nothing is thawed at any depth.")
    choose_backend(*read_values(params, "compute", Compute, "backend"))
    architecture = describe_backbone(pretrain)
    frozen = resolve_distinct(architecture, given)
    for count in frozen.values():
        plan_unfreezing(architecture, finetune.thawed.plan, count)
    return dict(sorted(frozen.items(), key=lambda item: -item[1]))


if __name__ == "__main__":
    main()
