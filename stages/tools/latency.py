"""Time the exported files: milliseconds for one image, with one thread and with all.

    python -m stages latency                   the files in data/export
    python -m stages latency copied/           a model exported elsewhere
    python -m stages latency --runs 1000       more runs, where times vary

Each file runs in a process of its own, one image at a time; the files take turns, so that other work on the machine
disturbs all of them alike. Shown are the median and, in parentheses, the quartiles; the most memory that a process
with one thread held, runtime included; and the accuracy on validation images, where export.quantize measured it.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from stages.base.arguments import count
from stages.base.errors import UserError
from stages.base.processor import count_cores, describe_processor, name_processor
from stages.base.stage import stage
from stages.base.table import format_table
from stages.base.terminal import format_size
from stages.formats.card import FILES, count_bytes, read_card
from stages.formats.latency import Timed, time_models

EXPORT = Path("data/export")

# Instructions that multiply 8-bit integers: x86, x86 in tiles, ARM.
_INTEGER = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


@stage("latency")
def main() -> None:
    """Time the files and print the table."""
    options = build_parser().parse_args()
    try:
        card = read_card(options.folder)
        names = [name for name in card.formats if (options.folder / FILES[name]).exists()]
        threads = sorted({1, count_cores()})
        timed = time_models(options.folder, names, threads, options.runs)
    except UserError as error:
        print(f"latency: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    known = [name for name in describe_processor().split() if name in _INTEGER]
    print(f"{count_cores()} cores of {name_processor()}; for int8 it has {', '.join(known) or 'no instructions'}")
    size, channels = card.contract.size, card.contract.channels
    print(f"one image of {size} x {size} x {channels}; median and quartiles of {options.runs} runs, in milliseconds\n")
    rows = make_rows(options.folder, timed, threads, read_accuracies(options.folder))
    print("\n".join(format_table(rows, right=range(1, len(rows[0])))))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages latency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, default=EXPORT, metavar="FOLDER", help=f"exported model (default {EXPORT})"
    )
    parser.add_argument("--runs", type=count, default=200, metavar="N", help="timed runs of each file (default 200)")
    return parser


def read_accuracies(folder: Path) -> dict[str, float]:
    """Return the accuracy on validation images of each format for which export measured it.

    Args:
        folder: of the exported model.
    """
    try:
        content: dict[str, Any] = json.loads((folder / "parity.json").read_text(encoding="utf-8"))
        measured = content["quantized"]
        found = {name: float(loss["accuracy"]) for name, loss in measured["formats"].items()}
        return {measured["reference"]: float(measured["accuracy"]), **found}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # copied without it, or nothing is quantized


def make_rows(folder: Path, timed: list[Timed], threads: list[int], accuracies: dict[str, float]) -> list[list[str]]:
    """Return the rows of the table, the header first.

    Args:
        folder: of the exported model.
        timed: from ``time_models``.
        threads: that each ran with.
        accuracies: by format.
    """
    heads = [f"{count} thread{'s' if count > 1 else ''}" for count in threads]
    rows = [["file", "size", *heads, "memory", *(["accuracy"] if accuracies else [])]]
    for name in dict.fromkeys(each.name for each in timed):
        own = [each for each in timed if each.name == name]
        rows.append([FILES[name], format_size(count_bytes(folder, name)), *map(_format_times, own)])
        rows[-1].append(format_size(own[0].memory) if own[0].memory else "-")
        if accuracies:
            rows[-1].append(f"{accuracies[name]:.1%}" if name in accuracies else "-")
    return rows


def _format_times(timed: Timed) -> str:
    low, high = timed.quartiles
    return f"{timed.median:.2f} ({low:.2f}-{high:.2f})"


if __name__ == "__main__":
    main()
