"""Show labels in doubt: a table for the terminal, and a page with pictures and the rows that correct them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.base.table import fit_table, format_table, make_printable
from stages.draw.page import document, note, section, sheet
from stages.draw.sheets import Group, Tile
from stages.splitting.correction_table import DROP, format_row

_COLUMNS = ("image", "label", "suggested", "score", "reason")
_WIDEST = 48  # columns of a terminal for a path, if output does not go to one
PROBABLE, DOUBTED, OUTLIER = "Probably wrong", "Predicted otherwise", "Outliers"
_WIDTH = 168  # of a picture, at least, in pixels: two side by side on a phone
_ABOUT = {
    PROBABLE: "Labels that confident learning counts as wrong, and near duplicates with different labels.",
    DOUBTED: "The prediction differs, but not beyond what is usual for the class. Most of these labels are right.",
    OUTLIER: "Pictures far from all others in the frozen features: broken, of something else, or only rare. The number "
    "is their distance from their ten nearest neighbors, divided by that of the median picture.",
}
_SCORE = (
    "Worst first. The percentage is the probability of the given label, by logistic regression on the frozen features "
    "that was fitted without the picture. A model that doubts a label may itself be wrong: look at each picture."
)
_ROWS = (
    "The line below a picture is its row for {table}, ready to copy. Change the label in it to the right class, to the "
    "one that the picture has, which confirms it, or to {drop}, which leaves the picture out. Nothing changes before "
    "split reads the table."
)


@dataclass(frozen=True)
class Shown:
    """An image in doubt, in words.

    Attributes:
        kind: PROBABLE, DOUBTED or OUTLIER.
        source: its path.
        label: its class.
        suggested: another class; empty for an outlier.
        score: in words.
        reason: why it is in doubt.
        pixels: the first digits of the hash of its pixels.
        sha256: of its file.
        twin: SHA-256 of a near duplicate's file with another label; empty if there is none.
    """

    kind: str
    source: str
    label: str
    suggested: str
    score: str
    reason: str
    pixels: str
    sha256: str
    twin: str = ""

    @property
    def explanation(self) -> str:
        """Why it is in doubt, and how much."""
        return f"probably wrong: {self.reason}" if self.kind == PROBABLE else self.reason

    @property
    def note(self) -> str:
        """Why it is in doubt, in one cell of the table."""
        return f"{self.label}{self.suggested and f', {self.suggested}?'} {self.score}: {self.explanation}"


def format_doubts(shown: Sequence[Shown], width: int | None) -> list[str]:
    """Return the lines of a table for a terminal.

    Args:
        shown: the images.
        width: of the terminal; None if output does not go to one.
    """
    rows = [(one.source, one.label, one.suggested or "-", one.score, one.explanation) for one in shown]
    cells: list[Sequence[str]] = [_COLUMNS, *([make_printable(cell) for cell in row] for row in rows)]
    if width is None:
        cells = [[make_printable(row[0], _WIDEST), *row[1:]] for row in cells]
    return format_table(cells if width is None else fit_table(cells, (0, 4), width), right=(3,))


def render_page(shown: Sequence[Shown], notes: Sequence[str], pictures: Mapping[str, bytes], table: str) -> str:
    """Return the page.

    Args:
        shown: the images, worst first of each kind.
        notes: lines on what was compared; the first is the summary.
        pictures: by the SHA-256 of the images' files.
        table: the path of the table of corrections.
    """
    parts = [section("How to correct them", _SCORE, _ROWS.format(table=table, drop=DROP))] if shown else []
    for kind, about in _ABOUT.items():
        if tiles := [_make_tile(one, pictures) for one in shown if one.kind == kind]:
            parts.append(section(kind, note(about), sheet([Group("", tiles)], _WIDTH)))
    return document("Labels", notes[0], "; ".join(notes[1:]), parts)


def _make_tile(one: Shown, pictures: Mapping[str, bytes]) -> Tile:
    twin = pictures[one.twin] if one.twin else None
    return Tile(
        pictures[one.sha256],
        f"{one.label} \N{RIGHTWARDS ARROW} {one.suggested}?" if one.suggested else one.label,
        one.source,
        confidence=one.score,
        second=one.reason.replace(" %", "\N{NO-BREAK SPACE}%"),
        seen=twin,
        seen_as="the near duplicate",
        row=format_row(one.source, one.suggested or DROP, one.pixels),
    )
