"""Read and write the files that stages pass on. A damaged one ends in a one-line message."""

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.base.errors import UserError, lacks_memory, summarize

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters that make a spreadsheet read a cell as a formula


@contextmanager
def refuse_damaged(path: Path, expected: str, remedy: str = "") -> Iterator[None]:
    """Turn any error of the block, which reads a file, into one line.

    Args:
        path: the file.
        expected: what the file should contain, such as "an ONNX graph".
        remedy: a sentence that says what to do; by default, to run the stage again that wrote data/STAGE/...

    Raises:
        UserError: the file is missing or damaged.
    """
    parts = path.parts
    stage = parts[parts.index("data") + 1] if "data" in parts[:-1] else ""
    again = f"dvc repro {stage}".strip()
    missing, damaged = remedy or f"Run `{again}`, or `dvc pull`.", remedy or f"Delete it, and run `{again}`."
    try:
        yield
    except UserError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} is missing. {missing}") from None
    except Exception as error:  # libraries raise all kinds of errors on damaged input
        if lacks_memory(error) or (isinstance(error, OSError) and error.errno and error.filename):
            raise  # not the file's fault
        raise UserError(f"{path}: expected {expected}, received: {summarize(error)}. {damaged}") from None


def read_json(path: Path, *keys: str) -> Any:
    """Read a JSON file that a stage wrote: a mapping with at least ``keys``.

    Raises:
        UserError: the file is missing or damaged.
    """
    with refuse_damaged(path, f"JSON with {', '.join(keys)}"):
        content = json.loads(path.read_text(encoding="utf-8"))
        check_names(keys, content if isinstance(content, dict) else ())
        return content


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that people can read."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows, the header first; texts are escaped (see ``escape``)."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([escape(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)


def check_names(expected: Iterable[str], received: Iterable[str]) -> None:
    """Raise ValueError if an ``expected`` name is not among the ``received`` ones."""
    if missing := sorted(set(expected) - set(received)):
        raise ValueError(f"none named {', '.join(missing)}")


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file in one step: at every moment it has the old content or the new."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def hash_file(path: Path, kind: str) -> str:
    """Return a file's hash in hexadecimal digits; ``kind`` is "md5" or "sha256"."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def escape(text: str) -> str:
    """Return a text for a CSV cell, quoted as ``'=1+1`` if a spreadsheet would run it as a formula."""
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text


def unescape(text: str) -> str:
    """Undo ``escape``."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(_FORMULA) else text
