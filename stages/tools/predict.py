"""Say what images show, with an exported model: the class of each and its probability.

    python -m stages predict IMAGE… [--model DIR] [--recursive] [--json] [--top K]

An argument may be a folder, whose images are then predicted (with --recursive those of folders below, too), or - for an
image on standard input. Content tells what is an image, as in split; other files in folders are left out, and named on
stderr. Reads data/export, or the folder DIR that an export was copied to. Exit code: 0 when every image was read, 1
when one could not be (stderr says why), 2 when there is no model, or for a wrong command line.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from stages.base.errors import UserError
from stages.base.stage import stage
from stages.base.table import format_table, make_printable
from stages.base.terminal import show_progress
from stages.formats.runner import BATCH, Runner
from stages.sources.image_files import SkippedFiles, find_images

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

    found = SkippedFiles(options.recursive)
    results: list[dict[str, Any]] = []
    images = iter(show_progress(find_images(options.images, runner.contract, found), "images"))
    while batch := list(islice(images, BATCH)):
        probabilities = runner.probabilities(np.stack([pixels for _, pixels in batch]))
        for (path, _), row in zip(batch, probabilities, strict=True):
            results.append(make_result(path, row, runner.classes, options.top))
    if options.json:
        print(json.dumps(results, indent=2, ensure_ascii=False))
    elif results:
        print("\n".join(format_table(make_rows(results))))
    sys.stdout.flush()
    nothing = [] if results or found.unread else ["found no images"]
    for line in (*found.unread, *found.notes(), *nothing):
        print(f"predict: {line}", file=sys.stderr)
    raise SystemExit(1 if found.unread or nothing else 0)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m stages predict", description="Say what images show.")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image file, folder of them, or -")
    parser.add_argument("--model", type=Path, default=EXPORT, metavar="DIR", help=f"exported model (default {EXPORT})")
    parser.add_argument("--recursive", action="store_true", help="search folders below those named, too")
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="show the K most probable classes (default 1)")
    options = parser.parse_args()
    if options.top < 1:
        parser.error(f"--top: expected 1 or more; received {options.top}")
    return options


def make_result(path: Path, row: np.ndarray, classes: list[str], top: int) -> dict[str, Any]:
    """Return what is said of an image: its class, and under ``top`` the most probable classes in their order."""
    order = np.argsort(-row, kind="stable")[:top]
    ranked = [{"class": classes[index], "probability": round(float(row[index]), 6)} for index in order]
    return {"image": str(path), **ranked[0], "top": ranked}


def make_rows(results: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Return the rows of the table, its head first: a class and its probability for each rank."""
    yield ["image", *["class", "probability"] * len(results[0]["top"])]
    for each in results:
        ranks = ((make_printable(rank["class"]), f"{rank['probability']:.4f}") for rank in each["top"])
        yield [make_printable(each["image"], WIDEST), *(cell for rank in ranks for cell in rank)]
