"""A table with its heading and notes, for a terminal, for Markdown and for the page."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.base.table import format_table, make_printable
from stages.draw.markdown import escape_markdown
from stages.draw.numbers import MINUS
from stages.draw.page import Html, folded, note, section, table


@dataclass(frozen=True)
class Block:
    """A table.

    Attributes:
        heading: its title.
        columns: their titles.
        rows: of cells.
        words: places of the columns that hold words; the others hold numbers.
        notes: sentences below it.
        rest: rows that only the page shows, folded.
    """

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    words: Sequence[int] = (0,)
    notes: Sequence[str] = ()
    rest: Sequence[Sequence[object]] = ()

    @property
    def all_notes(self) -> list[str]:
        """The notes of a text, which says how many rows it lacks."""
        return [*([f"and {len(self.rest)} more, on the page"] if self.rest else []), *self.notes]


def format_block(block: Block) -> list[str]:
    """Return the lines for a terminal."""
    numbers = [place for place in range(len(block.columns)) if place not in block.words]
    rows = [[make_printable(str(cell)).replace(MINUS, "-") for cell in row] for row in (block.columns, *block.rows)]
    lines = format_table(rows, right=numbers) if block.rows else []
    return ["", block.heading, *lines, *(line.replace(MINUS, "-") for line in block.all_notes)]


def format_markdown(block: Block) -> list[str]:
    """Return the lines of a table as GitHub reads it."""
    sides = [":--" if place in block.words else "--:" for place in range(len(block.columns))]
    rows = [[escape_markdown(str(cell)) for cell in row] for row in (block.columns, *block.rows)]
    rows.insert(1, sides)
    lines = [f"| {' | '.join(row)} |" for row in rows] if block.rows else []
    return ["", f"### {escape_markdown(block.heading)}", "", *lines, *paragraphs(block.all_notes)]


def render_block(block: Block) -> Html:
    """Return a section of the page."""
    parts = [table(block.columns, block.rows, block.words)] if block.rows else []
    if block.rest:
        parts.append(folded(f"The other {len(block.rest)}", table(block.columns, block.rest, block.words)))
    return section(block.heading, *parts, *map(note, block.notes))


def paragraphs(sentences: Sequence[str]) -> list[str]:
    """Return the lines of Markdown in which each sentence is a paragraph."""
    return [line for sentence in sentences for line in ("", escape_markdown(sentence))]
