"""Memory and time of each stage as the data set grows.

    python -m tests.benchmarks.memory [--images 5000 20000 50000] [--folder FOLDER]

For each number of images, an archive of ten class folders of JPEGs at 224 px is generated and read in place. MobileNet
at a quarter of its width, with random weights, is frozen up to block_12, which stores activations of 100 kB per image;
the head and the thawed layers train for one epoch each. At the end pretrain trains on the images for one epoch. Each
stage is a process; its memory is the peak resident size that the system reports. Everything is written to FOLDER
(default: the temporary folder), which needs 300 kB per image, and removed at the end.
Prints tables of MiB and seconds, and the size of an array of all images, as in the tutorials; takes about an hour on
two cores.
"""

import io
import tarfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from tests.benchmarks.measured import Measured, stage, table
from tests.helpers.benchmark import project_copy
from tests.helpers.command_line import command_line
from tests.helpers.copies import set_params

SIDE = 224
CLASSES = 10
BOUND = 2048  # MiB that no stage may go beyond, whatever the number of images
STAGES = ("split", "pretrain", "extract", "extract_test", "finetune", "evaluate")
LEARNING = "pretrain, learning"
CHOICES = {
    "fetch": {"items": []},
    "split": {"form": "photo", "polarity": "light_on_dark", "train": 0.8, "val": 0.1, "test": "rest"},
    "pretrain": {"backbone": "mobilenet_025", "image_size": SIDE, "epochs": 0},
    "extract": {"freeze": "block_12", "views": 1},
    "finetune": {"head": {"initial": "new", "epochs": 1}, "thawed": {"epochs": 1}},
}


def main() -> None:
    """Run the stages on data sets of all sizes and print the tables."""
    parser = command_line(__file__, __doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 20000, 50000])
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    runs: dict[int, dict[str, Measured]] = {}
    kept: dict[int, int] = {}
    for count in sorted(arguments.images):
        with project_copy(folder=arguments.folder) as here:
            (here / "data" / "own").mkdir(parents=True, exist_ok=True)
            write_images(here / "data" / "own" / "made.tar", count)
            source = {"source": "data/own/made.tar"}
            set_params(here, CHOICES)
            set_params(here, {"split": source, "pretrain": source})
            runs[count] = {name: stage(here, name) for name in STAGES}
            set_params(here, {"pretrain": {"epochs": 1}})
            runs[count][LEARNING] = stage(here, "pretrain")
            kept[count] = sum(path.stat().st_size for path in (here / "data" / "extract").iterdir())
        print(f"{count} images: {sum(run.seconds for run in runs[count].values()):.0f} s", flush=True)
    print(f"\n{memory(runs, kept)}\n\n{seconds(runs)}")


def write_images(archive: Path, count: int, side: int = SIDE) -> None:
    """Write a tar of class folders of JPEGs: smooth random colors around one of each class's own."""
    random = np.random.default_rng(1)
    tints = random.integers(40, 216, (CLASSES, 3))
    with tarfile.open(archive, "w") as file:
        for number in range(count):
            label = number % CLASSES
            colors = np.clip(tints[label] + random.normal(0, 40, (8, 8, 3)), 0, 255).astype(np.uint8)
            content = io.BytesIO()
            Image.fromarray(colors).resize((side, side), Image.Resampling.BICUBIC).save(content, "JPEG", quality=90)
            member = tarfile.TarInfo(f"class_{label}/{number:06d}.jpg")
            member.size = content.tell()
            content.seek(0)
            file.addfile(member, content)


def memory(runs: dict[int, dict[str, Measured]], kept: dict[int, int]) -> str:
    """Return the table of the most resident MiB of each stage."""
    rows = [("MiB, at most", *(f"{count:,} images" for count in runs))]
    rows += [(name, *(f"{run[name].mib:,.0f}" for run in runs.values())) for name in (*STAGES, LEARNING)]
    highest = max(process.mib for run in runs.values() for process in run.values())
    outcome = "kept" if highest <= BOUND else "BROKEN"
    rows.append((f"bound {BOUND:,}: {outcome}", *("" for _ in runs)))
    rows.append(("kept by extract, on disk", *(f"{size / 2**20:,.0f}" for size in kept.values())))
    for dtype in ("float32", "float64"):
        size = SIDE * SIDE * 3 * np.dtype(dtype).itemsize / 2**20
        rows.append((f"all images in a {dtype} array", *(f"{count * size:,.0f}" for count in runs)))
    return table(rows)


def seconds(runs: dict[int, dict[str, Measured]]) -> str:
    """Return the table of seconds of each stage, and of those that 1,000 more images take."""
    counts = list(runs)
    steps = list(pairwise(counts))
    rows = [("seconds", *(f"{n:,} images" for n in counts), *(f"each 1,000 from {a:,} to {b:,}" for a, b in steps))]
    for name in (*STAGES, LEARNING, "all"):
        took = {n: sum(runs[n][one].seconds for one in (runs[n] if name == "all" else [name])) for n in counts}
        slopes = [(took[b] - took[a]) / (b - a) * 1000 for a, b in steps]
        rows.append((name, *(f"{took[n]:.1f}" for n in counts), *(f"{slope:.2f}" for slope in slopes)))
    return table(rows)


if __name__ == "__main__":
    main()
