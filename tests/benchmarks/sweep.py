"""What kept activations save: a sweep over freeze depths, beside as many plain loops.

    python -m tests.benchmarks.sweep IMAGES WEIGHTS [--depths all block_16 ...] [--train 500 --val 20 --test rest]

IMAGES is a folder of class folders or an archive, WEIGHTS a weights file of MobileNetV2 without classifier. Recipe
cats_dogs_mobilenet_v2 with the plain loop's choices: one view, a head of 128 units for 10 epochs, thawed layers for 5.
Prints the table of `python -m stages sweep`, run from nothing but IMAGES, and what tests/benchmarks/plain_loop.py takes
on the very same images. --picture FILE keeps the sweep's picture.
"""

import json
import shutil
import time
from pathlib import Path

from stages.images.split_file import SplitFile
from tests.helpers.benchmark import bring_data, project_copy
from tests.helpers.command_line import command_line
from tests.helpers.copies import commit, run, set_params

DEPTHS = ["all", "Conv_1", "block_16", "block_15", "block_14", "-30", "block_13", "block_12"]
AS_THE_PLAIN_LOOP = {
    "extract": {"freeze": "all", "views": 1},
    "finetune": {
        "head": {"hidden": [128], "dropout": 0.2, "epochs": 10, "learning_rate": 0.001},
        "thawed": {"epochs": 5, "learning_rate": 0.00001},
        "checkpoint": "last",
        "early_stopping": 0,
        "plateau": {"patience": 0},
    },
}


def main() -> None:
    """Sweep, run the plain loop once, and print both."""
    parser = command_line(__file__, __doc__, "images", "weights")
    parser.add_argument("--depths", nargs="+", default=DEPTHS, metavar="DEPTH")
    parser.add_argument("--train", type=int, default=500, help="training images per class")
    parser.add_argument("--val", type=int, default=20, help="validation images per class")
    parser.add_argument("--test", default="rest", help="test images per class; rest: all that are left")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    test = int(arguments.test) if arguments.test.isdigit() else arguments.test
    with project_copy("cats_dogs_mobilenet_v2") as here:
        bring_data(here, arguments.images, arguments.weights)
        counts = {"train": arguments.train, "val": arguments.val, "test": test}
        set_params(here, {"split": {"classes": "all", **counts}, **AS_THE_PLAIN_LOOP})
        commit(here, "Begin")
        started = time.monotonic()
        print(run("python", "-m", "stages", "sweep", f"--depths={','.join(arguments.depths)}", cwd=here))
        sweep = time.monotonic() - started
        if arguments.picture:
            shutil.copy(here / "data" / "sweep" / "sweep.png", arguments.picture)
        run("dvc", "repro", "split", cwd=here)
        plain = run_plain_loop(write_images(here), arguments.weights.resolve(), here)
    count = len(arguments.depths)
    print(f"the sweep, with splitting and all start-up: {sweep:.0f} s")
    print(
        f"{count} plain loops at {plain:.0f} s (one was run): {count * plain:.0f} s, {count * plain / sweep:.1f} times"
    )


def write_images(here: Path) -> Path:
    """Write the images of the project's splits into class folders, as the plain loop reads them; return the folder."""
    folder = here / "data" / "plain"
    for name in ("train", "val", "test"):
        packed = SplitFile(here / "data" / "split" / f"{name}.parquet")
        for number, (image, label) in enumerate(zip(packed.images(), packed.labels(), strict=True)):
            path = folder / name / packed.classes[label] / f"{number:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image)
    return folder


def run_plain_loop(folder: Path, weights: Path, here: Path, *options: str) -> float:
    """Return the seconds that one plain loop takes on the images in ``folder``."""
    loop = ("python", "-m", "tests.benchmarks.plain_loop", str(folder), str(weights), *options)
    said = json.loads(run(*loop, cwd=here).splitlines()[-1])
    return float(sum(said[part] for part in ("startup", "head", "finetune", "test")))


if __name__ == "__main__":
    main()
