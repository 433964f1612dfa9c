"""Every family of backbones once through the whole pipeline, on a few real photographs.

    python -m tests.benchmarks.families PHOTOGRAPHS [--only vgg16 resnet50 ...]

PHOTOGRAPHS is a folder of two or more class folders. Each run takes a weights file in the published layout, made here
from random weights, thaws the last layers, and exports to ONNX: what is measured is that everything fits together, not
how well it learns. Then the backbone's graph is held against the network it was written from
(tests/benchmarks/graph.py): seconds to write it, whether two processes write the same bytes, how far its outputs are
from Keras's as a share of their largest value (at the boundary in the middle, and at the features), and the images a
second of ONNX Runtime and of Keras. Prints the backbone's line of the table, then one line a run; takes about 25
minutes on two cores.
"""

import json
import shutil
import time
from pathlib import Path

from stages.backbones.registry import BACKBONES
from stages.tools.backbones import format_cells
from tests.benchmarks.measured import measured, processor
from tests.helpers.benchmark import project_copy
from tests.helpers.command_line import command_line
from tests.helpers.copies import run, set_params
from tests.helpers.families import FAMILIES

IMAGES = 14  # of each class: 6 to train, 2 to validate, 6 to test
TITLES = (
    *("backbone", "px", "seconds", "frozen", "thawed", "kept at", "parity", "s to write", "same bytes", "middle"),
    *("features", "ONNX Runtime, images/s", "Keras", "outcome"),
)
WRITE_WEIGHTS = """
import sys
from pathlib import Path
import keras
from stages.backbones.registry import BACKBONES
from tests.helpers.published import vary, write_published

keras.utils.set_random_seed(1)
backbone = BACKBONES[sys.argv[1]].build(int(sys.argv[2])).model
vary(backbone)
write_published(backbone.layers, Path(sys.argv[3]))
"""


def main() -> None:
    """Run each family's representative and print what came of it."""
    parser = command_line(__file__, __doc__, "photographs")
    parser.add_argument("--only", nargs="+", choices=list(BACKBONES), default=["mnist_cnn", *FAMILIES])
    arguments = parser.parse_args()
    results = []
    with project_copy() as here:
        for source in sorted(path for path in arguments.photographs.iterdir() if path.is_dir())[:2]:
            target = here / "data" / "own" / "photographs" / source.name
            target.mkdir(parents=True)
            for image in sorted(source.iterdir())[:IMAGES]:
                shutil.copyfile(image, target / image.name)
        for name in arguments.only:
            print("  ".join(format_cells(name, BACKBONES[name])), flush=True)
            results.append(outcome(here, name))
    rows = [TITLES, *results]
    print(processor())
    widths = [max(len(row[column]) for row in rows) for column in range(len(TITLES))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def outcome(here: Path, name: str) -> tuple[str, ...]:
    """Run the pipeline with backbone ``name``; return its line of the table."""
    row = BACKBONES[name]
    side = max(row.smallest, 64)
    began = time.monotonic()
    try:
        own = here / "data" / "own"
        run("python", "-c", WRITE_WEIGHTS, name, str(side), str(own / f"{name}.h5"), cwd=here)
        set_params(here, choices(name, side))
        run("python", "-m", "stages", "check", cwd=here)
        run("dvc", "repro", "export", cwd=here)
        kept = json.loads((here / "data" / "extract" / "boundary.json").read_text())
        parity = json.loads((here / "data" / "export" / "parity.json").read_text())
        difference = parity["formats"]["onnx"]["largest_difference"]
        depth = kept["depths"][0]
        frozen, thawed = str(depth["frozen"]), str(kept["layers"] - depth["frozen"])
        graph = measured("tests.benchmarks.graph", cwd=here).said
        found = (
            *(frozen, thawed, depth["layer"] or "the pixels", f"{difference:.1e}"),
            *(f"{graph['convert']:.2f}", "yes" if graph["same_bytes"] else "NO"),
            *(f"{graph['middle']:.1e}", f"{graph['features']:.1e}"),
            *(f"{graph['onnxruntime']:.0f}", f"{graph['keras']:.0f}", "ok"),
        )
    except AssertionError as error:
        said = [
            line
            for line in str(error).splitlines()
            if line.startswith(("params.yaml:", "pretrain:", "extract:", "finetune:", "export:"))
        ]
        found = (*[""] * (len(TITLES) - 4), " ".join(said or str(error).splitlines()[-3:]))
    return (name, str(side), f"{time.monotonic() - began:.0f}", *found)


def choices(name: str, side: int) -> dict[str, object]:
    """Return the params of a run: few images, few epochs, the last layers thawed."""
    row = BACKBONES[name]
    return {
        "fetch": {"items": []},
        "split": {
            "source": "data/own/photographs",
            "form": "photo",
            "polarity": "light_on_dark",
            "train": 6,
            "val": 2,
            "test": 6,
        },
        "pretrain": {"source": f"data/own/{name}.h5", "backbone": name, "image_size": side},
        "extract": {"freeze": -2 if row.own else -((row.depth or 120) // 20 + 2), "views": 1},
        "finetune": {"head": {"initial": "new", "epochs": 2}, "thawed": {"epochs": 2}, "batch_size": 4},
        # Random weights let features grow from block to block (ResNetV2), and rounding errors with them.
        "export": {"formats": ["onnx"], "parity_images": 8, "max_difference": 0.01},
    }


if __name__ == "__main__":
    main()
