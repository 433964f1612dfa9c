"""Write to the terminal: lines, progress bars, sizes."""

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def say(text: str) -> None:
    """Print one line of what the stage does, at once even where output goes to a file."""
    print(f"  {text}", flush=True)


def show_progress(items: Iterable[T], what: str, total: int | None = None, unit: str = "image") -> Iterable[T]:
    """Show a bar on a terminal while ``items`` are gone through; stay silent in a log file."""
    return tqdm(items, desc=f"  {what}", total=total, unit=f" {unit}", leave=False, disable=None)


def format_size(size: float) -> str:
    """Return a number of bytes in three digits, such as 7.95 MB."""
    for unit in ("bytes", "kB", "MB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB" if size < 999.5 else f"{size:,.0f} GB"
