"""Format tables for a terminal. Only commands import this module, because that takes 0.1 s."""

from collections.abc import Iterable, Sequence

from tabulate import tabulate
from wcwidth import wcswidth


def format_table(rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> list[str]:
    """Return a line for each row.

    Args:
        rows: the cells of each row; the first row may be the header.
        right: indices of the columns to align to the right.
    """
    rows = [[str(cell) for cell in row] for row in rows]
    if not rows:
        return []
    sides = ["right" if place in right else "left" for place in range(len(rows[0]))]
    text: str = tabulate(rows, tablefmt="plain", colalign=sides, disable_numparse=True)
    return text.splitlines()


def make_printable(text: str, width: int | None = None) -> str:
    """Escape the control characters of a text, and shorten it to its end if it is too wide.

    Args:
        text: such as a file or class name.
        width: the maximum, in columns of the terminal.
    """
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    if width is None or wcswidth(text) <= width:
        return text
    start = len(text)
    while wcswidth(text[start - 1 :]) < width:
        start -= 1
    return f"…{text[start:]}"
