"""Read and write the files that stages hand on: whatever is wrong with one is said in one line."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.base.errors import UserError, lacks_memory

_LONGEST = 200  # characters of a reason
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the start of one


@contextmanager
def refuse_damaged(path: Path, expected: str) -> Iterator[None]:
    """Say in one line what is wrong with a file, whatever the code that reads it raises.

    Args:
        path: data/STAGE/..., of the stage that wrote it.
        expected: what it should be, such as "a graph".

    Raises:
        UserError: it is missing or damaged.
    """
    parts = path.parts
    stage = parts[parts.index("data") + 1] if "data" in parts[:-1] else ""
    again = f"dvc repro {stage}".strip()
    try:
        yield
    except UserError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} is missing. Run `{again}`, or `dvc pull`.") from None
    except Exception as error:  # what a library raises on damaged input depends on the damage: anything is possible
        if lacks_memory(error) or (isinstance(error, OSError) and error.errno and error.filename):
            raise  # the file may be right
        reason = " ".join(str(error).split())[:_LONGEST] or type(error).__name__
        raise UserError(f"{path}: expected {expected}, received: {reason}. Delete it, and run `{again}`.") from None


def read_json(path: Path, *keys: str) -> Any:
    """Read what a stage wrote as JSON, a mapping with ``keys`` at least.

    Raises:
        UserError: it is missing or damaged.
    """
    with refuse_damaged(path, f"JSON with {', '.join(keys)}"):
        content = json.loads(path.read_text(encoding="utf-8"))
        check_names(keys, content if isinstance(content, dict) else ())
        return content


def check_names(expected: Iterable[str], received: Iterable[str]) -> None:
    """Raise ValueError where one of the ``expected`` names is not among the ``received``."""
    if missing := sorted(set(expected) - set(received)):
        raise ValueError(f"none named {', '.join(missing)}")


def replace_file(path: Path, content: bytes) -> None:
    """Write a file anew so that it is the old one or the new one, whole, at every moment."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def hash_file(path: Path, kind: str) -> str:
    """Return the hash of a file's content, such as its "md5" or "sha256", in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def escape(text: str) -> str:
    """Return a text for a cell of a CSV file: a spreadsheet would run ``=1+1`` as a formula, and shows ``'=1+1``."""
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text


def unescape(text: str) -> str:
    """Return the text that ``escape`` was given."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(_FORMULA) else text
