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


def fit_table(rows: Sequence[Sequence[str]], columns: Sequence[int], width: int) -> list[list[str]]:
    """Shorten the widest of some columns, so that the table from ``format_table`` fits a width.

    Args:
        rows: the cells of each row.
        columns: indices of the columns that may be shortened, to 8 characters or more.
        width: of the terminal.
    """
    widths = [max(map(wcswidth, cells)) for cells in zip(*rows, strict=True)]
    for _ in range(sum(widths) + 2 * (len(widths) - 1) - width):
        widest = max(columns, key=lambda column: widths[column])
        widths[widest] = max(8, widths[widest] - 1)
    return [[make_printable(cell, width) for cell, width in zip(row, widths, strict=True)] for row in rows]


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
