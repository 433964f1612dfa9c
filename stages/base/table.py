"""Tables for a terminal, aligned whatever their texts hold. Only commands import this, for it takes 0.1 s."""

from collections.abc import Iterable, Sequence

from tabulate import tabulate
from wcwidth import wcswidth


def format_table(rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> list[str]:
    """Return a line for each row.

    Args:
        rows: of cells; the first row may be the header.
        right: columns to align to the right, by their places.
    """
    rows = [[str(cell) for cell in row] for row in rows]
    sides = ["right" if place in right else "left" for place in range(len(rows[0]))]
    text: str = tabulate(rows, tablefmt="plain", colalign=sides, disable_numparse=True)
    return text.splitlines()


def make_printable(text: str, width: int | None = None) -> str:
    """Return ``text`` with control characters escaped; only its end, where it is wider than ``width``.

    Args:
        text: file and class names may hold anything.
        width: in columns of the terminal.
    """
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    if width is None or wcswidth(text) <= width:
        return text
    start = len(text)
    while wcswidth(text[start - 1 :]) < width:
        start -= 1
    return f"…{text[start:]}"
