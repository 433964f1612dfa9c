"""Read the catalog of items that can be fetched."""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BeforeValidator, Field, field_validator

from stages.base.errors import UserError, suggest, summarize
from stages.base.params import Section, allowed, validate


def _text(pattern: str, meaning: str) -> BeforeValidator:
    return allowed(lambda value: isinstance(value, str) and bool(re.fullmatch(pattern, value)), meaning)


Name = Annotated[
    str, _text(r"[A-Za-z0-9][A-Za-z0-9._+-]*", "a plain file name of letters, digits and . _ + -")
]  # no folder, not hidden
Hash = Annotated[
    str,
    _text(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", "md5: or sha256: and the hash in lowercase hexadecimal digits"),
]
Url = Annotated[str, _text(r"https?://\S+", "an address that begins with http:// or https://")]
ClassName = Annotated[
    str, _text(r"[^\s/\\]([^/\\\n]*[^\s/\\])?", "a name without slashes, and without spaces around it")
]  # it may become the name of a class folder
CLASSES_FILE = "classes.txt"


class Entry(Section):
    """Base of the catalog's items and files."""

    DEFAULTS: ClassVar = ""


class PublishedFile(Entry):
    """One published file."""

    name: Name
    urls: Annotated[list[Url], Field(min_length=1)]
    hash: Hash | None = None  # None only if no hash is published
    size: Annotated[int, Field(ge=1)] | None = None


class DownloadItem(Entry):
    """An item that consists of published files."""

    kind: Literal["download"]
    files: list[PublishedFile]
    classes: Annotated[list[ClassName], Field(min_length=2)] | None = None

    @field_validator("files")
    @classmethod
    def _apart(cls, files: list[PublishedFile]) -> list[PublishedFile]:
        names = [file.name for file in files]
        if not files or len(set(names)) < len(names) or CLASSES_FILE in names:
            raise ValueError(f"expected one or more files of different names, none of them {CLASSES_FILE}")
        return files

    @field_validator("classes")
    @classmethod
    def _different(cls, classes: list[str] | None) -> list[str] | None:
        if classes and len(set(classes)) < len(classes):
            raise ValueError("expected different names")
        return classes


class GeneratedItem(Entry):
    """An item that the project generates itself."""

    kind: Literal["made"]
    generator: Literal["digits", "paper_digits"]


KINDS: dict[str, type[DownloadItem] | type[GeneratedItem]] = {"download": DownloadItem, "made": GeneratedItem}


def read_catalog(path: Path) -> dict[str, Any]:
    """Return the entries of the catalog at ``path`` by name, not yet validated.

    Raises:
        UserError: the catalog is missing or not valid YAML.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Run this from the top folder of the project.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {summarize(error)}.") from None
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: expected an entry for each item, received {type(content).__name__}.")
    return {str(name): entry for name, entry in content.items()}


def read_entry(path: Path, item: str) -> DownloadItem | GeneratedItem:
    """Return the entry of ``item`` in the catalog at ``path``.

    Raises:
        UserError: there is no such item (the message lists the items), or its entry is wrong (the message names each
            wrong key, its value and what is allowed).
    """
    known = read_catalog(path)
    if item not in known:
        raise UserError(f"no item '{item}' in {path}.{suggest(item, known)} Expected one of: {', '.join(known)}.")
    entry = known[item]
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        received = f"kind {kind!r}" if isinstance(entry, dict) else repr(entry)
        raise UserError(f"{path}: {item}: expected an entry of kind {' or '.join(KINDS)}, received {received}.")
    return validate(entry, item, KINDS[kind], str(path))
