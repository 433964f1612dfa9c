"""Write to the terminal: lines, progress bars, and tables that stay aligned whatever their texts hold."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar
from unicodedata import combining, east_asian_width

from tqdm import tqdm

T = TypeVar("T")


def say(text: str) -> None:
    """Print one line of what the stage does, at once even where output goes to a file."""
    print(f"  {text}", flush=True)


def show_progress(items: Iterable[T], what: str, total: int | None = None, unit: str = "image") -> Iterable[T]:
    """Show a bar on a terminal while ``items`` are gone through; stay silent in a log file."""
    return tqdm(items, desc=f"  {what}", total=total, unit=f" {unit}", leave=False, disable=None)


def aligned(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Return a line for each row; every cell of a column starts at the same place."""
    rows = list(rows)
    widths = [max(columns(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def make_printable(text: str, widest: int | None = None) -> str:
    """Return a text with everything escaped that would steer the terminal; too wide a text keeps its end only."""
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    if widest is None or columns(text) <= widest:
        return text
    start = len(text)
    while columns(text[start - 1 :]) < widest:
        start -= 1
    return f"…{text[start:]}"


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for a Chinese character, none for an added accent."""
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def readable(size: int) -> str:
    """Return a number of bytes in words."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
