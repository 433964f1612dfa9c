"""How fast the pipeline is, beside the bare network and beside the tutorial's loop, all within one run.

    python -m tests.benchmarks.speed IMAGES WEIGHTS [--train 300 --val 100 --test 200] [--epochs 10 5] [--repeat 3]

IMAGES is a folder of class folders or an archive of them, WEIGHTS a file of MobileNetV2 without classifier. The recipe
cats_dogs_mobilenet_v2 runs on them as TensorFlow's tutorial has it: at 160 px, one view, a head of 128 units, then the
last 30 layers, as many epochs as the tutorial's loop (tests/benchmarks/plain_loop.py), which gets the very same images.
So does the frozen network alone, in plain Keras and with ready batches (tests/benchmarks/bare_pass.py), and in bare
ONNX Runtime, beside decoding (tests/benchmarks/bare_graph.py). Then two more experiments: another learning rate,
another head. All are run --repeat times in turn; ratios are taken within each turn. Prints tables of the middle values:
start-up is importing, building and compiling, and left out where it is not named; the whole run has all, from the first
command to the test accuracy. Takes about a quarter of an hour on two cores.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.images.split_file import SplitFile
from stages.measure.intervals import bound_accuracy
from tests.benchmarks.measured import measured, processor, settled, table
from tests.helpers.command_line import command_line
from tests.helpers.copies import bring, copy_project, run, scores, set_params

SIZE = 160
SECOND = {
    "another learning rate": {"thawed": {"learning_rate": 0.00003}},
    "another head": {"head": {"hidden": [64]}},
}


Pairs = dict[str, tuple[float, float]]  # the pipeline's number and the other's, by what they are of


@dataclass(frozen=True)
class Turn:
    """What one turn took, in seconds.

    Attributes:
        stages: what each stage said (see ``tests.benchmarks.measured``).
        thaw: `dvc repro evaluate`, from nothing to the metrics.
        second: the same after another choice.
        plain: what the tutorial's loop said, and its "process" from start to end.
        bare: one pass of the bare network over the training and validation images.
        apart: decoding these images and, after that, one pass of ONNX Runtime with nothing around it.
        images: how many these are.
        scores: of the pipeline.
    """

    stages: dict[str, Any]
    thaw: float
    second: dict[str, float]
    plain: dict[str, Any]
    bare: float
    apart: float
    images: int
    scores: dict[str, Any]

    def beside_the_network(self) -> Pairs:
        """The pipeline's pass over the images, with all that goes with it, and that of the bare network."""
        extract, head = self.stages["extract"]["work"], settled(self.stages["finetune"]["fits"][0])
        return {
            "frozen pass, images/s": (self.images / extract, self.images / self.bare),
            "frozen pass and all of the head's epochs, s": (extract + head, self.bare),
            "bare ONNX Runtime and decoding alone, s beside the pass": (extract, self.apart),
        }

    def beside_the_loop(self) -> Pairs:
        """Seconds of the pipeline and of the tutorial's loop; start-up is imports, building and compiling networks."""
        head, thawed = self.stages["finetune"]["fits"]
        plain, plain_head, plain_thawed = self.plain, self.plain["head_epochs"], self.plain["finetune_epochs"]
        extract = self.stages["extract"]["work"]
        seconds = {name: said["all"] for name, said in self.stages.items()}
        imports = sum(said["imports"] for said in self.stages.values())
        return {
            "head": (extract + settled(head), settled(plain_head)),
            "fine-tuning": (settled(thawed), settled(plain_thawed)),
            "both": (extract + settled(head) + settled(thawed), settled(plain_head) + settled(plain_thawed)),
            "head, with start-up": (
                sum(seconds.values()) - seconds["extract_test"] - seconds["evaluate"] - sum(thawed),
                plain["startup"] + plain["head"],
            ),
            "fine-tuning, with start-up": (seconds["finetune"] - sum(head), plain["startup"] + plain["finetune"]),
            "whole run but for imports and DVC": (
                sum(seconds.values()) - imports,
                plain["head"] + plain["finetune"] + plain["test"],
            ),
            "whole run": (self.thaw, plain["process"]),
        }

    def second_experiment(self) -> Pairs:
        """Seconds to the metrics after another choice; the loop runs as a whole again."""
        return {name: (seconds, self.plain["process"]) for name, seconds in self.second.items()}


def main() -> None:
    """Run everything and print the tables."""
    parser = command_line(__file__, __doc__, "images", "weights")
    for name, count in (("train", 300), ("val", 100), ("test", 200)):
        parser.add_argument(f"--{name}", type=int, default=count, help="images per class")
    parser.add_argument("--epochs", type=int, nargs=2, default=[10, 5], metavar=("HEAD", "THAWED"))
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    weights = arguments.weights.resolve()
    with tempfile.TemporaryDirectory() as folder:
        here = copy_project(Path(folder) / "project")
        graph = (here / "dvc.yaml").read_text(encoding="utf-8")  # a stage also says what its work took
        graph = graph.replace("cmd: python -m stages.", "cmd: python -m tests.benchmarks.measured ")
        (here / "dvc.yaml").write_text(graph, encoding="utf-8")
        run("python", "-m", "stages", "recipe", "cats_dogs_mobilenet_v2", cwd=here)
        images, backbone = (bring(here, path) for path in (arguments.images, weights))
        set_params(here, choices(images, backbone, arguments))
        turns = []
        for number in range(arguments.repeat):
            turns.append(turn(here, Path(folder) / "class_folders", weights, arguments.epochs))
            stages = ", ".join(f"{name} {said['all']:.1f}" for name, said in turns[-1].stages.items())
            print(f"turn {number + 1}: `dvc repro evaluate` {turns[-1].thaw:.1f} s: {stages}, else DVC", flush=True)
    network = [turn.beside_the_network() for turn in turns]
    loop, again = [turn.beside_the_loop() for turn in turns], [turn.second_experiment() for turn in turns]
    print(f"\n{processor()}")
    print(f"\n{compared(f'{turns[0].images} images', 'bare network', 'ratio', network, inverse=False)}")
    print(f"\n{compared('seconds', 'the loop', 'times faster', loop)}")
    print(f"\n{compared('second experiment, s', 'the loop', 'times faster', again)}")
    print(f"\n{accuracies(turns[-1])}")


def choices(images: str, weights: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Return the recipe's changes: the tutorial's numbers instead of its own."""
    head, thawed = arguments.epochs
    return {
        "fetch": {"items": []},
        "split": {"source": images, "fit": "stretch"}
        | {name: getattr(arguments, name) for name in ("train", "val", "test")},
        "pretrain": {"source": weights, "image_size": SIZE},
        "extract": {"freeze": -30, "views": 1},
        "finetune": {
            "head": {"hidden": [128], "dropout": 0.2, "epochs": head, "learning_rate": 0.001},
            "thawed": {"epochs": thawed, "learning_rate": 0.00001},
            "checkpoint": "last",
            "early_stopping": 0,
            "plateau": {"patience": 0},
        },
    }


def turn(here: Path, folders: Path, weights: Path, epochs: list[int]) -> Turn:
    """Run all there is to compare once."""
    params = (here / "params.yaml").read_text(encoding="utf-8")
    began = time.perf_counter()
    output = run("dvc", "repro", "--force", "evaluate", cwd=here)
    thaw = time.perf_counter() - began
    stages = {said["stage"]: said for said in map(json.loads, filter(lambda x: x.startswith("{"), output.splitlines()))}
    measures = scores(here)
    if not folders.exists():
        as_class_folders(here / "data" / "split", folders)
    count = sum(len(SplitFile(here / "data" / "split" / f"{name}.parquet")) for name in ("train", "val"))

    def bare() -> tuple[float, float]:
        speeds = measured(
            "tests.benchmarks.bare_pass", str(weights), "--size", str(SIZE), "--images", str(count), cwd=here
        ).said
        apart = measured("tests.benchmarks.bare_graph", cwd=here).said
        return count / max(speeds.values()), apart["decode"] + apart["run"]

    before = bare()
    loop = measured(
        *("tests.benchmarks.plain_loop", str(folders), str(weights), "--size", str(SIZE)),
        *("--epochs", *map(str, epochs)),
        cwd=here,
    )
    after, others = bare(), {}
    for name, change in SECOND.items():
        set_params(here, {"finetune": change})
        shutil.rmtree(here / ".dvc" / "cache" / "runs", ignore_errors=True)  # of an earlier turn's, too
        began = time.perf_counter()
        run("dvc", "repro", "evaluate", cwd=here)
        others[name] = time.perf_counter() - began
        (here / "params.yaml").write_text(params, encoding="utf-8")
    # What is bare gets the better of two tries.
    network, apart = map(min, zip(before, after, strict=True))
    return Turn(stages, thaw, others, {**loop.said, "process": loop.seconds}, network, apart, count, measures)


def as_class_folders(split: Path, folders: Path) -> None:
    """Write the images of the splits as files, byte for byte."""
    for name in ("train", "val", "test"):
        packed = SplitFile(split / f"{name}.parquet")
        for image, label, source in zip(packed.images(), packed.labels(), packed.sources(), strict=True):
            path = folders / name / packed.classes[label] / Path(source).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image)


def compared(what: str, other: str, ratio: str, turns: list[Pairs], inverse: bool = True) -> str:
    """Return a table of the turns' middle values, with the lowest and highest ratio where there are several turns."""
    rows = [(what, "pipeline", other, ratio)]
    for name in turns[0]:
        ours, theirs = ([turn[name][which] for turn in turns] for which in (0, 1))
        ratios = [b / a if inverse else a / b for a, b in zip(ours, theirs, strict=True)]
        spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(turns) > 1 else ""
        middle = statistics.median(ratios)
        rows.append((name, *(f"{statistics.median(x):.1f}" for x in (ours, theirs)), f"{middle:.2f}{spread}"))
    return table(rows)


def accuracies(turn: Turn) -> str:
    """Return the table of accuracies on the same test images, with 95 % intervals."""
    images = turn.scores["test_images"]
    rows = [(f"accuracy on {images} test images", "pipeline", "the loop")]
    for model in ("head", "finetuned"):
        shares = (turn.scores[model]["accuracy"], turn.plain[f"{model}_accuracy"])
        intervals = [bound_accuracy(round(share * images), images, 0.95) for share in shares]
        cells = [f"{share:.1%} ({low:.1%} to {high:.1%})" for share, (low, high) in zip(shares, intervals, strict=True)]
        rows.append((model, cells[0], cells[1]))
    return table(rows)


if __name__ == "__main__":
    main()
