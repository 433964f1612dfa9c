"""What more views of each image cost, and what they gain: 1, 4, 8, and fresh views in every epoch.

    python -m tests.benchmarks.views IMAGES WEIGHTS [--seeds 3] [--recipe horse_zebra_mobilenet_v2] [--train 20]

IMAGES is a folder of class folders or an archive, WEIGHTS a weights file; they take the place of the recipe's
split.source and pretrain.source, with all classes of IMAGES and --train images of each. Each seed draws other training
images, views and weights, the same for every number of views. With V views an epoch has V times the steps of one view;
with fresh views it has as many as with one, and each step runs the whole network.
Prints the seconds of extract and finetune without imports (median over seeds), and test accuracies; takes about 20
minutes on two cores.
"""

import json
import statistics
from pathlib import Path
from typing import Any

from tests.benchmarks.measured import stage, table
from tests.helpers.benchmark import bring_data, project_copy
from tests.helpers.command_line import command_line
from tests.helpers.copies import scores, set_params

VIEWS: tuple[int | str, ...] = (1, 4, 8, "fresh")


def main() -> None:
    """Run the recipe with each number of views and each seed, and print a table."""
    parser = command_line(__file__, __doc__, "images", "weights")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", default="horse_zebra_mobilenet_v2")
    parser.add_argument("--train", type=int, default=20, help="images per class")
    parser.add_argument("--epochs", type=int, nargs=2, metavar=("HEAD", "THAWED"), help="instead of the recipe's")
    arguments = parser.parse_args()
    found: dict[int | str, list[dict[str, Any]]] = {views: [] for views in VIEWS}
    with project_copy(arguments.recipe) as here:
        bring_data(here, arguments.images, arguments.weights)
        set_params(here, {"split": {"classes": "all", "train": arguments.train}})
        if arguments.epochs:
            phases = zip(("head", "thawed"), arguments.epochs, strict=True)
            set_params(here, {"finetune": {phase: {"epochs": epochs} for phase, epochs in phases}})
        for seed in range(1, arguments.seeds + 1):
            set_params(here, {name: {"seed": seed} for name in ("split", "pretrain", "extract", "finetune")})
            for name in ("split", "pretrain"):
                stage(here, name)
            for views in VIEWS:
                set_params(here, {"extract": {"views": views}})
                found[views].append(outcome(here))
                print(f"seed {seed}, views {views}: {found[views][-1]['finetuned']:.1%}", flush=True)
        images = json.loads((here / "data" / "split" / "summary.json").read_text(encoding="utf-8"))["images"]
    print(f"\n{arguments.recipe}, {images['train']} training and {images['test']} test images, seeds 1 to {seed}")
    rows = [("views", "extract, s", "finetune, s", "head: lowest, median, highest", "fine-tuned")]
    for views, runs in found.items():
        seconds = [f"{statistics.median(run[name] for run in runs):.1f}" for name in ("extract", "finetune")]
        rows.append((str(views), *seconds, *(spread([run[model] for run in runs]) for model in ("head", "finetuned"))))
    print(table(rows))


def outcome(here: Path) -> dict[str, float]:
    """Run extract to evaluate; return the seconds of extract and of finetune, and the accuracies."""
    said = {name: stage(here, name).said for name in ("extract", "extract_test", "finetune", "evaluate")}
    found = scores(here)
    seconds = {name: said[name]["all"] - said[name]["imports"] for name in ("extract", "finetune")}
    return seconds | {model: found[model]["accuracy"] for model in ("head", "finetuned")}


def spread(values: list[float]) -> str:
    """Return the lowest, middle and highest of accuracies."""
    return ", ".join(f"{100 * value:.1f}" for value in (min(values), statistics.median(values), max(values))) + " %"


if __name__ == "__main__":
    main()
