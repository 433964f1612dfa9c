"""Accuracy on photographs of digits, on blank paper and with ruled and squared paper drawn under them.

    python -m tests.benchmarks.ruled_paper PHOTOGRAPHS [--seeds 3] [--sheet SHEET.png]

PHOTOGRAPHS is a folder of class folders 0 … 9, of dark ink on blank paper. MNIST is downloaded, or comes from
THAW_MIRROR. Each seed draws other training images, for the recipe mnist_own_digits, and other paper under the test
images (tests/helpers/drawn_paper.py). "before" leaves the lines in. Prints a table with the milliseconds that an
image takes on one core, and writes a sheet: photographs, each beside its ink form before and after. Takes about ten
minutes on two cores.
"""

import io
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image

from stages.formats.runner import Runner
from stages.images.contract import Contract
from stages.images.decode import BadImage, decode
from stages.images.load import load
from stages.images.split_file import SplitFile
from tests.benchmarks.measured import processor, table
from tests.helpers.benchmark import project_copy
from tests.helpers.command_line import command_line
from tests.helpers.copies import bring, commit, run, set_params
from tests.helpers.drawn_paper import draw_paper

KINDS = ("blank", "ruled", "squared")
WAYS = ("before", "after")
QUALITY = 88  # of the photographs drawn
TILE, GAP, ROW = 160, 6, 10  # of the sheet: pixels of a photograph and between two, and how many are in a row


def main() -> None:
    """Train a reader with each seed, let it read each kind of paper in both ways, and print what it gives."""
    parser = command_line(__file__, __doc__, "photographs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sheet", type=Path, default=Path("ruled_paper.png"))
    arguments = parser.parse_args()
    right: dict[tuple[str, str], list[float]] = {(kind, way): [] for kind in KINDS for way in WAYS}
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in right}
    tiles: list[Image.Image] = []
    with project_copy() as here:
        bring(here, arguments.photographs, "digits")
        for seed in range(1, arguments.seeds + 1):
            reader = train(here, seed)
            packed = SplitFile(here / "data" / "split" / "test.parquet")
            answers = [reader.classes.index(Path(source).parent.name) for source in packed.sources()]
            for kind in KINDS:
                images = [drawn(data, kind, (seed, number)) for number, data in enumerate(packed.images())]
                forms = {}
                for way in WAYS:
                    with lines_left_in(way == "before"):
                        began = time.process_time()
                        forms[way] = np.stack([form(image, reader.contract) for image in images])
                    seconds[kind, way].append((time.process_time() - began) / len(images))
                    said = reader.probabilities(forms[way]).argmax(axis=1)
                    right[kind, way].append(float(np.mean(said == answers)))
                if seed == 1 and kind != "blank":
                    tiles += [tile(*shown) for shown in zip(images, forms["before"], forms["after"], strict=True)]
    write_sheet(tiles, arguments.sheet)
    rows = [["paper", "lines taken out", *(f"seed {seed + 1}" for seed in range(arguments.seeds)), "median", "ms"]]
    for (kind, way), values in right.items():
        cells = [f"{value:.1%}" for value in [*values, statistics.median(values)]]
        rows.append([kind, way, *cells, f"{1000 * statistics.median(seconds[kind, way]):.0f}"])
    print(f"{len(answers)} test photographs a seed; examples: {arguments.sheet}\n{processor()}\n{table(rows)}")


def train(here: Path, seed: int) -> Runner:
    """Run the recipe with ``seed`` and return its reader."""
    run("python", "-m", "stages", "recipe", "mnist_own_digits", "--overwrite", cwd=here)
    set_params(here, {name: {"seed": seed} for name in ("split", "extract", "finetune")})
    run("dvc", "repro", "export", cwd=here, **{"THAW_MIRROR": os.environ.get("THAW_MIRROR", "")})
    commit(here, f"seed {seed}")
    return Runner(here / "data" / "export")


def drawn(data: bytes, kind: str, seed: tuple[int, int]) -> bytes:
    """Return a photograph with paper drawn under it, as a JPEG; on blank paper as it is."""
    if kind == "blank":
        return data
    file = io.BytesIO()
    rng = np.random.default_rng([*seed, KINDS.index(kind)])
    draw_paper(decode(data), kind, rng).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


@contextmanager
def lines_left_in(wanted: bool) -> Iterator[None]:
    """Let the ink form find no lines, where that is wanted."""
    if not wanted:
        yield
        return
    with patch("stages.images.ink.remove_ruling", lambda image: image):
        yield


def form(image: bytes, contract: Contract) -> np.ndarray:
    """Return an image as the reader gets it; black where it is refused, which then counts as read wrong, or by luck."""
    try:
        return load(image, contract)
    except BadImage:
        return np.zeros((contract.size, contract.size, contract.channels), np.uint8)


def tile(image: bytes, *forms: np.ndarray) -> Image.Image:
    """Return a photograph with its two ink forms below it."""
    whole = Image.new("RGB", (TILE, TILE * 3 // 2), "white")
    photograph = decode(image).convert("RGB")
    photograph.thumbnail((TILE, TILE))
    whole.paste(photograph, ((TILE - photograph.width) // 2, 0))
    for place, pixels in enumerate(forms):
        whole.paste(Image.fromarray(pixels[..., 0]).resize((TILE // 2 - 2,) * 2), (place * TILE // 2, TILE + 1))
    return whole


def write_sheet(tiles: list[Image.Image], path: Path) -> None:
    """Write every third tile, in rows."""
    some = tiles[::3]
    sheet = Image.new("RGB", (ROW * (TILE + GAP), -(-len(some) // ROW) * (TILE * 3 // 2 + GAP)), "white")
    for place, each in enumerate(some):
        sheet.paste(each, (place % ROW * (TILE + GAP), place // ROW * (TILE * 3 // 2 + GAP)))
    sheet.save(path)


if __name__ == "__main__":
    main()
