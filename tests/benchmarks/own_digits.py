"""Accuracy on photographs of handwritten digits, with MNIST first and from scratch, over several seeds.

    python -m tests.benchmarks.own_digits PHOTOGRAPHS [--seeds 3]

PHOTOGRAPHS is a folder of class folders 0 … 9. MNIST is downloaded, or comes from THAW_MIRROR. Each seed draws other
training images, other views and another order. Prints a table; takes about five minutes on two cores.
"""

import json
import os
import statistics
from pathlib import Path
from typing import Any

from tests.helpers.benchmark import project_copy
from tests.helpers.command_line import command_line
from tests.helpers.copies import bring, commit, run, scores, set_params

RECIPES = {"mnist_own_digits": "with MNIST first", "mnist_own_digits_from_scratch": "from scratch"}


def main() -> None:
    """Run both recipes with each seed and print what they give."""
    parser = command_line(__file__, __doc__, "photographs")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    with project_copy() as here:
        bring(here, arguments.photographs, "digits")
        rows = {name: [accuracies(here, name, seed) for seed in range(1, arguments.seeds + 1)] for name in RECIPES}
        run("python", "-m", "stages", "recipe", "mnist_own_digits", "--overwrite", cwd=here)
        run("dvc", "repro", "pretrain", cwd=here)
        source = json.loads((here / "data" / "pretrain" / "metrics.json").read_text())["source_test_accuracy"]
    print(f"MNIST's own test images: {source:.2%}")
    print(f"{'photographs':<34}{'each seed':<28}median")
    for name, label in RECIPES.items():
        values = [row["finetuned"]["accuracy"] for row in rows[name]]
        print(f"{label:<34}{'  '.join(f'{value:6.1%}' for value in values):<28}{statistics.median(values):.1%}")
    first = rows["mnist_own_digits"][0]
    low, high = first["finetuned"]["accuracy_low"], first["finetuned"]["accuracy_high"]
    print(f"with MNIST first, seed 1: 95 % interval {low:.1%} to {high:.1%} on {first['test_images']} test photographs")


def accuracies(here: Path, recipe: str, seed: int) -> dict[str, Any]:
    """Return the scores that ``recipe`` gives with ``seed``."""
    run("python", "-m", "stages", "recipe", recipe, "--overwrite", cwd=here)
    set_params(here, {name: {"seed": seed} for name in ("split", "extract", "finetune")})
    run("dvc", "repro", "evaluate", cwd=here, **{"THAW_MIRROR": os.environ.get("THAW_MIRROR", "")})
    commit(here, f"{recipe}, seed {seed}")
    return scores(here)


if __name__ == "__main__":
    main()
