"""Say what images show, with an exported model: the class of each and its probability.

    python -m stages.predict IMAGE… [--model DIR] [--json] [--top K]

An argument may be a folder: then the images in it are meant, not those in folders below. Reads data/export, or the
folder DIR that an export was copied to. Exit code: 0 when every image was read, 1 when one could not be (stderr says
why), 2 when there is no model to predict with.
"""

import argparse
import json
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from stages.base.stage import UserError, progress, stage
from stages.formats.runner import BATCH, Runner
from stages.formats.table import aligned, shown
from stages.images.contract import Contract
from stages.images.decode import BadImage
from stages.images.load import load
from stages.sources.tree import IMAGE_SUFFIXES

EXPORT = Path("data/export")

WIDEST = 72  # columns of the table for an image's path; of a longer one it shows the end


@stage("predict")
def main() -> None:
    """Predict the images named on the command line."""
    options = arguments()
    try:
        runner = Runner(options.model)
    except UserError as error:
        print(f"predict: {error}", file=sys.stderr)
        raise SystemExit(2) from None

    unread: list[str] = []
    results: list[dict[str, Any]] = []
    images = iter(progress(readable(options.images, runner.contract, unread), "images"))
    while batch := list(islice(images, BATCH)):
        probabilities = runner.probabilities(np.stack([pixels for _, pixels in batch]))
        for (path, _), row in zip(batch, probabilities, strict=True):
            results.append(result(path, row, runner.classes, options.top))
    if options.json:
        print(json.dumps(results, indent=2, ensure_ascii=False))
    elif results:
        print("\n".join(aligned(table(results))))
    sys.stdout.flush()
    for line in unread:
        print(f"predict: {line}", file=sys.stderr)
    raise SystemExit(1 if unread else 0)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m stages.predict", description="Say what images show.")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image file, or folder of image files")
    parser.add_argument("--model", type=Path, default=EXPORT, metavar="DIR", help=f"exported model (default {EXPORT})")
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="show the K most probable classes (default 1)")
    options = parser.parse_args()
    if options.top < 1:
        parser.error(f"--top: expected 1 or more; received {options.top}")
    return options


def readable(arguments: Sequence[Path], contract: Contract, unread: list[str]) -> Iterator[tuple[Path, np.ndarray]]:
    """Go through the images with their pixels; what cannot be read is added to ``unread`` with the reason."""
    queue = deque(arguments)
    while queue:
        path = queue.popleft()
        try:
            if path.is_dir():
                inside = sorted(file for file in path.iterdir() if is_image(file))
                if not inside:
                    raise BadImage("holds no image files; folders below it are not searched")
                queue.extendleft(reversed(inside))
            elif path.exists() and not path.is_file():
                raise BadImage("no regular file")  # reading a pipe would wait for ever
            else:
                yield path, load(path.read_bytes(), contract)
        except BadImage as error:
            unread.append(f"{shown(str(path))}: {error}")
        except OSError as error:
            unread.append(f"{shown(str(path))}: {(error.strerror or str(error)).lower()}")


def is_image(path: Path) -> bool:
    """Tell whether a file of a folder is meant, from its name."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and not path.is_dir()


def result(path: Path, row: np.ndarray, classes: list[str], top: int) -> dict[str, Any]:
    """Return what is said of an image: its class, and under ``top`` the most probable classes in their order."""
    order = np.argsort(-row, kind="stable")[:top]
    ranked = [{"class": classes[index], "probability": round(float(row[index]), 6)} for index in order]
    return {"image": str(path), **ranked[0], "top": ranked}


def table(results: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Return the rows of the table, its head first: a class and its probability for each rank."""
    yield ["image", *["class", "probability"] * len(results[0]["top"])]
    for each in results:
        ranks = ((shown(rank["class"]), f"{rank['probability']:.4f}") for rank in each["top"])
        yield [shown(each["image"], WIDEST), *(cell for rank in ranks for cell in rank)]


if __name__ == "__main__":
    main()
