"""The lock table: test images stay test images, and images that were trained on never become test images."""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from stages.base.errors import UserError, shorten
from stages.base.files import escape, replace_file, unescape

DIGITS = 16  # of the hash of an image's pixels, which identify it in the table
_HEADER = ["pixels", "class", "split"]
_PIXELS = re.compile(f"[0-9a-f]{{{DIGITS}}}")
_SPLITS = ("test", "other")

LockRows = dict[str, tuple[str, str]]  # by the first digits of the hash: the class, and "test" or "other"


@dataclass(frozen=True)
class LockTable:
    """Which images are locked, by the first DIGITS hexadecimal digits of the hash of their pixels.

    Attributes:
        test: test images.
        other: images that were in train or val, and must not become test images.
    """

    test: frozenset[str] = frozenset()
    other: frozenset[str] = frozenset()

    def is_test(self, pixels: str) -> bool:
        """Return whether the image with this hash is locked as a test image."""
        return pixels[:DIGITS] in self.test

    def is_other(self, pixels: str) -> bool:
        """Return whether the image with this hash was in train or val."""
        return pixels[:DIGITS] in self.other


NO_LOCKS = LockTable()


def read_lock_table(path: Path) -> LockTable:
    """Read the table; see ``read_rows``."""
    rows = read_rows(path)
    test, other = (frozenset(pixels for pixels, (_, split) in rows.items() if split == name) for name in _SPLITS)
    return LockTable(test, other)


def read_rows(path: Path) -> LockRows:
    """Read the rows of the table; none if there is no table.

    Raises:
        UserError: it is damaged, or contradicts itself.
    """
    try:
        lines = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        table = [(lines.line_num, row) for row in lines]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (UnicodeDecodeError, csv.Error) as error:
        raise _make_refusal(path, 1, "a table of comma-separated values, UTF-8", str(error)) from None
    if not table or table[0][1] != _HEADER:
        raise _make_refusal(path, 1, f"the header {','.join(_HEADER)}", ",".join(table[0][1]) if table else "nothing")
    rows: LockRows = {}
    for number, row in table[1:]:
        if len(row) != len(_HEADER) or not _PIXELS.fullmatch(row[0]) or row[2] not in _SPLITS:
            expected = f"{DIGITS} hexadecimal digits, a class, and test or other"
            raise _make_refusal(path, number, expected, ",".join(row) or "an empty line")
        pixels, name, split = row
        if rows.setdefault(pixels, (unescape(name), split))[1] != split:
            raise _make_refusal(path, number, f"image {pixels} in one split", "test in one line and other in another")
    return rows


def write_rows(path: Path, rows: LockRows) -> None:
    """Write the table in sorted order, so that git can merge two people's additions."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows((pixels, escape(name), split) for pixels, (name, split) in sorted(rows.items()))
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text.getvalue().encode())


def _make_refusal(path: Path, line: int, expected: str, received: str) -> UserError:
    return UserError(
        f"{path}, line {line}: expected {expected}; received: {shorten(received)}. Correct the line, or restore the "
        f"committed table with `git checkout {path}`."
    )
