"""Predict what images show with an exported model: the class of each, and its probability.

    python -m stages predict photo.jpg                      a table with one row per image
    python -m stages predict photos/ --recursive --top 3    the images in a folder and below it, three classes each
    python -m stages predict - --json < photo.jpg           an image on standard input, as JSON
    python -m stages predict photo.jpg --model copied/      a model exported elsewhere, or one of its files
    python -m stages predict photo.jpg --imagenet vgg16     a published network, which names ImageNet's 1,000 classes
    python -m stages predict photos/ --explain maps/        also draw which parts of each image support its class

Files are recognized by content, as in split; a folder's other files are skipped and listed on stderr. Exit code: 0 if
every image was read, 1 if one could not be (stderr says why), 2 without a model or for a wrong command line.
"""

import argparse
import json
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.backbones.imagenet import PublishedClassifier
from stages.backbones.registry import BACKBONES
from stages.base.arguments import count
from stages.base.errors import UserError
from stages.base.stage import stage
from stages.base.table import format_table, make_printable
from stages.base.terminal import read_width, show_progress
from stages.formats.card import find_model
from stages.formats.runner import BATCH, Runner
from stages.images.contract import Contract
from stages.images.decode import BadImage
from stages.images.load import load
from stages.sources.tree import is_hidden, is_image

if TYPE_CHECKING:
    from stages.explain.map_folder import MapFolder

EXPORT, FETCH = Path("data/export"), Path("data/fetch")

WIDEST = 72  # columns for an image's path; a longer path loses its start
NAMED = 5  # skipped files listed in a message


@stage("predict")
def main() -> None:
    """Predict the images named on the command line."""
    options = build_parser().parse_args()
    try:
        runner = open_model(options.model, options.imagenet, options.weights)
        maps = open_map_folder(options.explain, runner) if options.explain else None
    except UserError as error:
        print(f"predict: {error}", file=sys.stderr)
        raise SystemExit(2) from None

    top = options.top or (5 if options.imagenet else 1)
    found = SkippedFiles(options.recursive)
    results: list[dict[str, Any]] = []
    images = iter(show_progress(find_images(options.images, runner.contract, found), "images"))
    while batch := list(islice(images, BATCH)):
        probabilities, distances = predict(runner, np.stack([pixels for _, _, pixels in batch]))
        for (path, data, pixels), row, distance in zip(batch, probabilities, distances, strict=True):
            results.append(make_result(path, row, distance, runner.classes, top))
            if maps:
                maps.write("stdin" if str(path) == "-" else path.stem, data, pixels, int(row.argmax()))
    if options.json:
        print(json.dumps(results, indent=2, ensure_ascii=False))
    elif results:
        print("\n".join(format_results(results, read_width())))
    sys.stdout.flush()
    nothing = [] if results or found.unread else ["found no images"]
    written = [maps.describe()] if maps and results else []
    for line in (*found.unread, *found.notes(), *written, *nothing):
        print(f"predict: {line}", file=sys.stderr)
    raise SystemExit(1 if found.unread or nothing else 0)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image file, folder of images, or -")
    models = parser.add_mutually_exclusive_group()
    models.add_argument(
        "--model",
        type=Path,
        default=EXPORT,
        metavar="DIR",
        help=f"exported model (default {EXPORT}), or one of its files",
    )
    models.add_argument(
        "--imagenet",
        choices=[name for name, row in BACKBONES.items() if not row.own],
        metavar="BACKBONE",
        help="use a published network with its original classifier instead",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="its weights file, including the classifier (default: the one in data/fetch)",
    )
    parser.add_argument("--recursive", action="store_true", help="include the folders inside a folder")
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    parser.add_argument(
        "--top", type=count, metavar="K", help="show the K likeliest classes (default 1; with --imagenet 5)"
    )
    parser.add_argument(
        "--explain",
        type=Path,
        metavar="DIR",
        help="write NAME_explained.jpg for each image into DIR: which parts of it support its class",
    )
    return parser


def open_model(exported: Path, imagenet: str | None, weights: Path | None) -> Runner | PublishedClassifier:
    """Return the model to predict with: an exported one, or a published classifier.

    Args:
        exported: folder of an exported model, or one of the model files in it.
        imagenet: name of a published network to use instead.
        weights: of that network; the fetched ones by default.

    Raises:
        UserError: there is no such model, or there are weights without ``imagenet``.
    """
    if imagenet is None:
        if weights:
            raise UserError("--weights: expected with --imagenet BACKBONE, whose weights they are.")
        return Runner(*find_model(exported))
    return PublishedClassifier(imagenet, FETCH, weights)


def open_map_folder(folder: Path, runner: Runner | PublishedClassifier) -> "MapFolder":
    """Return the folder for pictures of what speaks for a class.

    Args:
        folder: its path.
        runner: the model.

    Raises:
        UserError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--explain: expected a folder; {folder}: {(error.strerror or str(error)).lower()}.") from None
    from stages.explain.explainer import Explainer  # here: they import onnx and ONNX Runtime
    from stages.explain.map_folder import MapFolder

    graph = runner.graph if isinstance(runner, Runner) else None
    return MapFolder(folder, Explainer(graph, runner.probabilities, BATCH), runner.contract)


@dataclass
class SkippedFiles:
    """The files and folders that ``find_images`` skips.

    Attributes:
        recursive: whether to search subfolders.
        unread: a line for each image that cannot be read.
        others: files in folders that are not images.
        below: subfolders that were not searched.
    """

    recursive: bool
    unread: list[str] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    below: list[Path] = field(default_factory=list)

    def notes(self) -> Iterator[str]:
        """Yield lines that say what was skipped."""
        for paths, why in ((self.others, "not images"), (self.below, "folders below (add --recursive)")):
            if paths:
                names = ", ".join(make_printable(str(path)) for path in paths[:NAMED])
                yield f"left out {len(paths)} ({why}): {names}{', …' if len(paths) > NAMED else ''}"


def find_images(
    arguments: Sequence[Path], contract: Contract, found: SkippedFiles
) -> Iterator[tuple[Path, bytes, np.ndarray]]:
    """Yield the path, the bytes and the pixels of each image.

    Args:
        arguments: files and folders; "-" is standard input.
        contract: how images become pixels.
        found: collects everything else.
    """
    queue = deque((path, True) for path in arguments)
    searched: set[Path] = set()  # links may form a cycle
    while queue:
        path, named = queue.popleft()
        try:
            if str(path) == "-":
                yield path, (data := sys.stdin.buffer.read()), load(data, contract)
            elif path.is_dir():
                inside = sorted(each for each in path.iterdir() if not is_hidden(each.name))
                if not named and not found.recursive:
                    found.below.append(path)
                elif path.resolve() not in searched:
                    searched.add(path.resolve())
                    queue.extendleft((each, False) for each in reversed(inside))
            elif path.exists() and not path.is_file():
                raise BadImage("not a regular file")  # reading a pipe would block
            else:
                yield path, (data := path.read_bytes()), load(data, contract)
        except BadImage as error:
            if named or is_image(path.name):
                found.unread.append(f"{make_printable(str(path))}: {error}")
            else:
                found.others.append(path)
        except OSError as error:
            found.unread.append(f"{make_printable(str(path))}: {(error.strerror or str(error)).lower()}")


def predict(runner: Runner | PublishedClassifier, pixels: np.ndarray) -> tuple[np.ndarray, Sequence[float | None]]:
    """Return probabilities (n, classes), and the distance of each image from what the model learned, if it tells that.

    Args:
        runner: the model.
        pixels: of the images.
    """
    if isinstance(runner, PublishedClassifier):
        return runner.probabilities(pixels), [None] * len(pixels)
    probabilities, distances = runner.predict(pixels)
    return probabilities, [None] * len(pixels) if distances is None else distances.tolist()


def make_result(path: Path, row: np.ndarray, distance: float | None, classes: list[str], top: int) -> dict[str, Any]:
    """Return an image's class and, under ``top``, its most probable classes in order.

    Args:
        path: of the image.
        row: the probability of each class.
        distance: of the image from what was learned: above 1 it is unknown. None if the model does not tell.
        classes: their names.
        top: how many to list.
    """
    order = np.argsort(-row, kind="stable")[:top]
    ranked = [{"class": classes[index], "probability": round(float(row[index]), 6)} for index in order]
    unknown = {} if distance is None else {"distance": round(distance, 6), "unknown": distance > 1}
    return {"image": str(path), **ranked[0], **unknown, "top": ranked}


def format_results(results: list[dict[str, Any]], width: int | None) -> list[str]:
    """Return the table: the classes of an image side by side, or one per line if the terminal is too narrow.

    Args:
        results: from ``make_result``, for each image.
        width: of the terminal; None if unlimited.
    """
    lines = format_table(make_rows(results, side_by_side=True))
    return lines if not width or max(map(len, lines)) <= width else format_table(make_rows(results, side_by_side=False))


def make_rows(results: list[dict[str, Any]], side_by_side: bool) -> Iterator[list[str]]:
    """Yield the rows of the table, the header first: a class and its probability for each rank, and the distance."""
    header = ["image", *["distance"] * ("distance" in results[0])]
    yield [*header, *["class", "probability"] * (len(results[0]["top"]) if side_by_side else 1)]
    for each in results:
        image = [make_printable(each["image"], WIDEST)]
        if "distance" in each:
            image.append(f"{each['distance']:.2f}{' unknown' * each['unknown']}")
        ranks = [(make_printable(rank["class"]), f"{rank['probability']:.4f}") for rank in each["top"]]
        if side_by_side:
            yield [*image, *(cell for rank in ranks for cell in rank)]
        else:
            yield from ([*(image if rank is ranks[0] else [""] * len(image)), *rank] for rank in ranks)


if __name__ == "__main__":
    main()
