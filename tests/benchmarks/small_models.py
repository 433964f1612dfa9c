"""What the exported files of the project in this folder weigh, how accurate they are, and how long an image takes.

    python -m tests.benchmarks.small_models [--runs 500]

Prints for each file in data/export its size, how many validation and test images it gets right, the difference from
the first one with its interval, and the milliseconds for one image: medians, with the quartiles, as
`python -m stages latency` measures them.
"""

from pathlib import Path

import numpy as np

from stages.base.processor import count_cores, describe_processor
from stages.base.terminal import format_size
from stages.formats.card import FILES, count_bytes, read_card
from stages.formats.latency import time_models
from stages.formats.runner import Runner
from stages.images.load import load_all
from stages.images.split_file import SplitFile
from stages.measure.intervals import measure_difference
from tests.benchmarks.measured import processor, table
from tests.helpers.command_line import command_line

EXPORT = Path("data/export")
CONFIDENCE = 0.95


def main() -> None:
    """Measure all files and print a row for each."""
    parser = command_line(__file__, __doc__)
    parser.add_argument("--runs", type=int, default=500)
    runs = parser.parse_args().runs
    card, threads = read_card(EXPORT), sorted({1, count_cores()})
    rows = {name: [FILES[name], format_size(count_bytes(EXPORT, name))] for name in card.formats}
    for part in ("val", "test"):
        split = SplitFile(Path(f"data/split/{part}.parquet"))
        pixels = np.stack(list(load_all(split.images(), card.contract)))
        right = {name: Runner(EXPORT, name).probabilities(pixels).argmax(axis=1) == split.labels() for name in rows}
        for name, row in rows.items():
            gain, low, high = (
                100 * value for value in measure_difference(right[card.formats[0]], right[name], CONFIDENCE)
            )
            row += [f"{right[name].mean():.1%}", f"{gain:+.1f} ({low:+.1f} to {high:+.1f})"]
    for timed in time_models(EXPORT, card.formats, threads, runs):
        low, high = timed.quartiles
        rows[timed.name].append(f"{timed.median:.2f} ({low:.2f}-{high:.2f})")
    print(processor(), describe_processor(), sep="\n")
    head = ["file", "size", "validation", "points", "test", "points", *(f"{count} threads, ms" for count in threads)]
    print(table([head, *rows.values()]))


if __name__ == "__main__":
    main()
