"""What transfer is worth: a recipe on your images and weights, several seeds, beside a CNN from scratch.

    python -m tests.benchmarks.transfer RECIPE IMAGES WEIGHTS [--seeds 3] [--scratch-epochs 20]

IMAGES is a folder of class folders or an archive, WEIGHTS a weights file; they take the place of the recipe's
split.source and pretrain.source, with all classes of IMAGES. Each seed draws other training images, views and weights.
From scratch means the tutorials' three-convolution CNN on the same images (at most 96 px) and views, Adam at 0.001:
with few images it does better than a deep network from random weights. 0 epochs leave it out.
Prints the test accuracy of each: lowest, middle, highest.
"""

import statistics
import time
from pathlib import Path

from stages.base.params import read_yaml
from tests.helpers.benchmark import bring_data, project_copy
from tests.helpers.command_line import command_line
from tests.helpers.copies import commit, repro, run, set_params

FROM_SCRATCH = {
    "pretrain": {"backbone": "three_conv_cnn", "epochs": 0},
    "extract": {"freeze": "none"},
    "finetune": {
        "head": {"epochs": 0},
        "thawed": {"learning_rate": 0.001, "layer_decay": 1.0, "gradual": []},
    },
}


def main() -> None:
    """Run the recipe with each seed and print what it gives."""
    parser = command_line(__file__, __doc__)
    parser.add_argument("recipe")
    parser.add_argument("images", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scratch-epochs", type=int, default=20)
    arguments = parser.parse_args()
    accuracies: dict[str, list[float]] = {}
    seconds: list[float] = []
    with project_copy(arguments.recipe) as here:
        source, weights = bring_data(here, arguments.images, arguments.weights)
        set_params(here, {"split": {"classes": "all"}})
        for seed in range(1, arguments.seeds + 1):
            set_params(here, {name: {"seed": seed} for name in ("split", "pretrain", "extract", "finetune")})
            set_params(here, {"pretrain": {"source": weights}})
            commit(here, f"Seed {seed}")
            start = time.monotonic()
            scores = repro(here)
            seconds.append(time.monotonic() - start)
            for model in ("head", "finetuned"):
                accuracies.setdefault(model, []).append(scores[model]["accuracy"])
            if arguments.scratch_epochs:
                size = min(96, int(read_yaml(here / "params.yaml")["pretrain"]["image_size"]))
                set_params(here, FROM_SCRATCH)
                set_params(here, {"pretrain": {"source": source, "image_size": size}})
                set_params(here, {"finetune": {"thawed": {"epochs": arguments.scratch_epochs}}})
                accuracies.setdefault("scratch", []).append(repro(here)["finetuned"]["accuracy"])
                run("git", "checkout", "-q", ".", cwd=here)
    print(f"{arguments.recipe} on {arguments.images.name}, {scores['test_images']} test images, seeds 1 to {seed}")
    print(f"{'':<12}{'lowest':>8}{'median':>8}{'highest':>8}")
    for model, values in accuracies.items():
        print(f"{model:<12}{min(values):8.1%}{statistics.median(values):8.1%}{max(values):8.1%}")
    print(f"{statistics.median(seconds):.0f} s for `dvc repro evaluate` with transfer")


if __name__ == "__main__":
    main()
