"""Write to the terminal: lines, progress bars, sizes."""

import shutil
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def say(text: str) -> None:
    """Print one line about the stage's work, without buffering; progress bars stay below it."""
    with tqdm.external_write_mode():
        print(f"  {text}", flush=True)


def show_progress(items: Iterable[T], what: str, total: int | None = None, unit: str = "image") -> Iterable[T]:
    """Return ``items`` with a progress bar on a terminal; a log file gets none.

    Args:
        items: what to iterate over.
        what: the bar's label.
        total: the number of items, if ``len(items)`` does not tell.
        unit: what an item is called.
    """
    return tqdm(items, desc=f"  {what}", total=total, unit=f" {unit}", leave=False, disable=None)


def read_width() -> int | None:
    """Return the width of the terminal in columns; None if output does not go to a terminal."""
    return shutil.get_terminal_size((0, 0)).columns or None


def format_size(size: float) -> str:
    """Return a number of bytes with three significant digits.

    >>> format_size(7_954_321)
    '7.95 MB'
    """
    for unit in ("bytes", "kB", "MB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB" if size < 999.5 else f"{size:,.0f} GB"
