"""Start-up of each stage, and of a `dvc repro` with nothing to do.

    python -m tests.benchmarks.startup [--runs 5]

Runs the default recipe on a few images of each class, one epoch per phase. Prints for each stage the seconds of its
imports and of the rest: building, tracing and converting networks, and files. Then `dvc repro` with nothing to do,
compared with a plain pipeline of the same stages, files and params: no foreach, no variables, no plots. Medians of
alternating runs; takes about five minutes on two cores.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.base.params import read_yaml
from tests.helpers.command_line import command_line
from tests.helpers.copies import copy_project, ran, run, set_params

FRAMEWORKS = {"tensorflow", "keras", "jax", "torch"}
STAGES = ["fetch", "split", "pretrain", "extract", "extract_test", "finetune", "evaluate", "report", "export"]
SHORT = {
    "split": {"train": 3, "val": 2, "test": 5},
    "pretrain": {"epochs": 1},
    "extract": {"views": 1},
    "finetune": {"head": {"epochs": 1}, "thawed": {"epochs": 1}},
    "export": {"parity_images": 10},
}
FEW = {"split": {"source": "data/own/few"}, "pretrain": {"source": "data/own/others"}}


def main() -> None:
    """Measure both and print them."""
    parser = command_line(__file__, __doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        here = copy_project(Path(folder) / "project")
        set_params(here, SHORT)
        run("dvc", "repro", cwd=here)
        other = plain(here, Path(folder) / "plain")
        ours, theirs = alternate(lambda: nothing_to_do(here), lambda: nothing_to_do(other), runs)
        few_images(here)
        print(f"{'stage':<14}{'imports':>9}{'rest':>9}  framework\n")
        total = sum(startup(here, stage, runs) for stage in STAGES)
    print(f"{'sum':<14}{total:18.1f}\n")
    print(
        f"dvc repro with nothing to do: {ours:.2f} s; plain pipeline of its shape: {theirs:.2f} s; {ours / theirs:.2f}"
    )


def startup(here: Path, stage: str, runs: int) -> float:
    """Print what one stage takes, and return it. Of fetch, whose work is to make images, the imports alone."""
    code = f"import sys, stages.{stage}; print(*sorted({FRAMEWORKS} & set(sys.modules)))"
    framework = run("python", "-c", code, cwd=here).split()
    importing, whole = alternate(
        lambda: run("python", "-c", f"import stages.{stage}", cwd=here),
        lambda: run("python", "-m", f"stages.{stage}", cwd=here, fails=stage == "fetch"),  # no item: an error at once
        runs,
    )
    print(f"{stage:<14}{importing:9.2f}{whole - importing:9.2f}  {', '.join(framework)}")
    return whole


def alternate(first: Callable[[], object], second: Callable[[], object], runs: int) -> tuple[float, float]:
    """Return the median seconds of two functions, called in turn; the first call of each is left out."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs + 1):
        for function, taken in zip((first, second), seconds, strict=True):
            start = time.monotonic()
            function()
            taken.append(time.monotonic() - start)
    return statistics.median(seconds[0][1:]), statistics.median(seconds[1][1:])


def nothing_to_do(here: Path) -> None:
    """Run ``dvc repro`` and make sure that it ran nothing."""
    stages = ran(run("dvc", "repro", cwd=here))
    if stages:
        raise AssertionError(f"expected nothing to do in {here}; these ran: {', '.join(stages)}")


def few_images(here: Path) -> None:
    """Let split and pretrain read so few images that the time they take does not show."""
    for folder in sorted((here / "data" / "fetch" / "paper_digits").iterdir()):
        for number, image in enumerate(sorted(folder.iterdir())[:13]):
            target = here / "data" / "own" / ("few" if number < 10 else "others") / folder.name / image.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, target)
    set_params(here, FEW)


def plain(here: Path, there: Path) -> Path:
    """Copy a project whose graph has run, with what its dvc.lock holds as a dvc.yaml of commands that do nothing."""
    shutil.copytree(here, there, symlinks=True)
    params = read_yaml(there / "params.yaml")
    pipeline: dict[str, Any] = {}
    for name, locked in read_yaml(there / "dvc.lock")["stages"].items():
        plain_name = name.replace("@", "_")
        keys: list[str] = []
        for file, values in locked.get("params", {}).items():
            section = {plain_name: values} if file != "params.yaml" else {}
            params |= section
            keys += section or values
        outs = [out["path"] for out in locked["outs"]]
        metrics = [out for out in outs if out == "data/evaluate/metrics.json"]
        pipeline[plain_name] = {
            "cmd": "true",
            "deps": [dep["path"] for dep in locked["deps"]],
            "params": keys,
            "outs": [out for out in outs if out not in metrics],
            "metrics": [{metric: {"cache": False}} for metric in metrics],
        }
    yaml = YAML()
    yaml.dump(params, there / "params.yaml")
    yaml.dump({"stages": pipeline}, there / "dvc.yaml")
    (there / "dvc.lock").unlink()
    run("dvc", "commit", "-q", "--force", cwd=there)
    return there


if __name__ == "__main__":
    main()
