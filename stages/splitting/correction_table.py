"""Corrections of labels: a table in git that gives pictures another class, or drops them; the data set stays as it is.

image,label,pixels,note
cat/12.jpg,dog,3f2a9c0d1e5b7a68,      relabeled: its path as in data/split, its class, and its hash
cat/13.jpg,cat,,                      confirmed: the class that it has; `python -m stages labels` doubts it no more
cat/14.jpg,drop,,                     dropped: in no split
cat/15.jpg,,,                         undecided: without effect

The hash, if there is one, identifies the picture, whatever its file is called; otherwise the path does. A row holds for
every copy of the picture. Other columns are ignored.
"""

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stages.base.errors import UserError, shorten
from stages.base.files import escape, replace_file, unescape
from stages.sources.data_set import Sample, normalize_name
from stages.splitting.lock_table import DIGITS

DROP, NONE = "drop", "none"
COLUMNS = ("image", "label", "pixels", "note")
_PIXELS = re.compile(f"[0-9a-f]{{{DIGITS},64}}")


@dataclass(frozen=True)
class Correction:
    """A row of the table.

    Attributes:
        line: its last line in the file.
        image: a path, in Unicode's composed form; empty if there is only the hash.
        label: a class, or DROP; empty if that is undecided.
        pixels: the first DIGITS digits of the hash of its pixels; empty if there is only the path.
    """

    line: int
    image: str
    label: str
    pixels: str

    @property
    def name(self) -> str:
        """The image, in messages."""
        return self.image or self.pixels


@dataclass(frozen=True)
class Corrections:
    """The table.

    Attributes:
        path: the file; None without a table.
        by_pixels: rows with a hash, by the hash.
        by_path: the other rows, by the path.
        undecided: rows without a label.
    """

    path: Path | None = None
    by_pixels: Mapping[str, Correction] = field(default_factory=dict)
    by_path: Mapping[str, Correction] = field(default_factory=dict)
    undecided: Sequence[Correction] = ()

    def find(self, source: str, pixels: str) -> Correction | None:
        """Return the row of an image.

        Args:
            source: its path.
            pixels: the hash of its pixels.
        """
        return self.by_pixels.get(pixels[:DIGITS]) or self.by_path.get(normalize_name(source))

    def select(self, samples: Iterable[Sample], classes: Collection[str]) -> list[Sample]:
        """Return the samples of some classes, and those that may come into them by their path.

        Args:
            samples: of all classes.
            classes: their names.
        """
        rows = {row.image: row for row in (*self.by_pixels.values(), *self.by_path.values()) if row.image}

        def may_hold(sample: Sample) -> bool:
            row = rows.get(normalize_name(sample.source)) if rows else None
            return sample.class_name in classes or (row is not None and row.label in classes)

        return [sample for sample in samples if may_hold(sample)]


def read_corrections(name: str, tables: Path) -> Corrections:
    """Read the table; see the module's description.

    Args:
        name: its path, or NONE.
        tables: the folder of tables that git tracks.

    Raises:
        UserError: it is elsewhere, missing or damaged, or contradicts itself.
    """
    if name == NONE:
        return Corrections()
    path = Path(name)
    if path.parent != tables:
        raise UserError(f"split.corrections: expected none, or a table in {tables}/, which git keeps; received {name}.")
    if not path.is_file():
        raise UserError(
            f"split.corrections: there is no {name}. `python -m stages labels --write` makes one; or set it to none."
        )
    by_pixels, by_path = dict[str, Correction](), dict[str, Correction]()
    undecided = []
    for row in _read_rows(path):
        if not row.label:
            undecided.append(row)
            continue
        other = by_pixels.setdefault(row.pixels, row) if row.pixels else by_path.setdefault(row.image, row)
        if other.label != row.label:
            raise contradict(path, other, row)
    return Corrections(path, by_pixels, by_path, undecided)


def contradict(path: Path, one: Correction, other: Correction) -> UserError:
    """Return the error of two rows that give one picture two labels.

    Args:
        path: the table.
        one: a row.
        other: another one.
    """
    return UserError(
        f"{path}, lines {one.line} and {other.line}: expected one label for a picture; received '{one.label}' for "
        f"{one.name} and '{other.label}' for {other.name}, which is the same. Delete one of the rows."
    )


def add_undecided(path: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Append rows without a label, which somebody has to decide; a table that does not exist is made.

    Args:
        path: the table.
        rows: path, hash of the pixels, and a note.
    """
    text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
    text = text or ",".join(COLUMNS) + "\n"
    header, separator = _read_header(text)
    added = io.StringIO()
    writer = csv.writer(added, delimiter=separator, lineterminator="\n")
    for source, pixels, note in rows:
        cells = {"image": escape(source), "pixels": pixels[:DIGITS], "note": escape(note)}
        writer.writerow([cells.get(column, "") for column in header])
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, (text + "\n" * (not text.endswith("\n")) + added.getvalue()).encode())


def format_row(source: str, label: str, pixels: str) -> str:
    """Return a row of the table: path, label and hash of the pixels."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow((escape(source), escape(label), pixels[:DIGITS]))
    return text.getvalue()


def _read_rows(path: Path) -> Iterator[Correction]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        header, separator = _read_header(text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        lines = [(reader.line_num, cells) for cells in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise _refuse(path, 1, "a table of comma-separated values, UTF-8", str(error)) from None
    if not {"image", "label"} <= set(header) or len(set(header)) < len(header):
        raise _refuse(path, 1, f"the header {','.join(COLUMNS[:3])}", separator.join(header))
    for number, cells in lines[1:]:
        if not any(map(str.strip, cells)):
            continue
        if len(cells) > len(header):
            raise _refuse(path, number, f"at most {len(header)} cells, as the header has", separator.join(cells))
        row = {column: unescape(cell.strip()) for column, cell in zip(header, cells, strict=False)}
        pixels = row.get("pixels", "").lower()
        if pixels and not _PIXELS.fullmatch(pixels):
            raise _refuse(path, number, f"{DIGITS} hexadecimal digits or more, or none, in pixels", pixels)
        image, label = normalize_name(row["image"]), normalize_name(row.get("label", ""))
        if not image and not pixels:
            raise _refuse(path, number, "the path of an image, or the hash of its pixels", separator.join(cells))
        yield Correction(number, image, label, pixels[:DIGITS])


def _read_header(text: str) -> tuple[list[str], str]:
    """Return the names of the columns, and what separates them."""
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    return [cell.strip().lower() for cell in next(csv.reader([first], delimiter=separator), [])], separator


def _refuse(path: Path, line: int, expected: str, received: str) -> UserError:
    return UserError(
        f"{path}, line {line}: expected {expected}; received: {shorten(received) or 'nothing'}. Correct the line, or "
        f"restore the committed table with `git checkout {path}`."
    )
