"""The exercise of a course: which of three networks, how much of it thawed, or from scratch? Beside plain loops.

    python -m tests.benchmarks.exercise IMAGES V2 V2_035 V1_025

IMAGES is a folder of class folders or an archive; the others are weights files without classifier, of MobileNetV2 at
widths 1.0 and 0.35 and of MobileNet at width 0.25. Runs `python -m stages sweep` over all three, head only and with the
last block thawed, and from scratch, from nothing but these files; then the loops of tests/benchmarks/plain_loop.py on
the same images: one for each network, which trains the head and then the last block, and one from scratch. 20 images of
each class train and 10 validate, at 96 px, without augmentation. --picture FILE keeps the sweep's picture.
"""

import shutil
import time
from pathlib import Path

from tests.benchmarks.measured import processor
from tests.benchmarks.sweep import AS_THE_PLAIN_LOOP, run_plain_loop, write_images
from tests.helpers.benchmark import project_copy
from tests.helpers.command_line import command_line
from tests.helpers.copies import bring, commit, run, set_params

SIZE = 96
LAST_BLOCK = {"mobilenet_v2": 11, "mobilenet_v2_035": 11, "mobilenet_025": 6}  # layers
NETWORKS = {
    "mobilenet_v2": ("MobileNetV2", "1.0"),
    "mobilenet_v2_035": ("MobileNetV2", "0.35"),
    "mobilenet_025": ("MobileNet", "0.25"),
}


def main() -> None:
    """Sweep, run the plain loops, and print both."""
    parser = command_line(__file__, __doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("weights", type=Path, nargs=len(NETWORKS))
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    files = dict(zip(NETWORKS, arguments.weights, strict=True))
    with project_copy("cats_dogs_mobilenet_v2") as here:
        source = bring(here, arguments.images)
        brought = {name: bring(here, file, f"{name}.h5") for name, file in files.items()}
        first = next(iter(brought))
        set_params(
            here,
            {
                "fetch": {"items": []},
                "split": {"source": source, "classes": "all", "train": 20, "val": 10, "test": "rest"},
                "pretrain": {"source": brought[first], "backbone": first, "image_size": SIZE},
                **AS_THE_PLAIN_LOOP,
            },
        )
        commit(here, "Begin")
        started = time.monotonic()
        named = ",".join(f"{name}={file}" for name, file in brought.items())
        options = ("--backbones", named, "--depths", "all,last_block", "--from-scratch", "--test")
        print(run("python", "-m", "stages", "sweep", *options, cwd=here))
        sweep = time.monotonic() - started
        if arguments.picture:
            shutil.copy(here / "data" / "sweep" / "sweep.png", arguments.picture)
        run("dvc", "repro", "split", cwd=here)
        folder, size = write_images(here), ("--size", str(SIZE))
        loops = {
            name: run_plain_loop(
                folder, files[name].resolve(), here, *size, "--network", *network, "--thawed", str(LAST_BLOCK[name])
            )
            for name, network in NETWORKS.items()
        }
        loops["from scratch"] = run_plain_loop(folder, Path("none"), here, *size)
    print(processor())
    print(f"the sweep, with splitting and all start-up: {sweep:.0f} s")
    each = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in loops.items())
    print(f"plain loops: {sum(loops.values()):.0f} s ({each})")


if __name__ == "__main__":
    main()
