"""Read the catalog of items that can be fetched."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from stages.base.errors import UserError, suggest, summarize
from stages.base.params import Section

NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"  # a plain file name: no folder, not hidden
HASH = r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$"
URL = r"^https?://\S+$"
CLASS = r"^[^\s/\\]([^/\\\n]*[^\s/\\])?$"  # it may become the name of a class folder
MEANING = {
    NAME: "a plain file name of letters, digits and . _ + -",
    HASH: "md5: or sha256: and the hash in lowercase hexadecimal digits",
    URL: "an address that begins with http:// or https://",
    CLASS: "a name without slashes, and without spaces around it",
}
CLASSES_FILE = "classes.txt"


class PublishedFile(Section):
    """One published file."""

    name: Annotated[str, Field(pattern=NAME)]
    urls: Annotated[list[Annotated[str, Field(pattern=URL)]], Field(min_length=1)]
    hash: Annotated[str, Field(pattern=HASH)] | None = None  # None only if no hash is published
    size: Annotated[int, Field(ge=1)] | None = None


class DownloadItem(Section):
    """An item that consists of published files."""

    kind: Literal["download"]
    files: Annotated[list[PublishedFile], Field(min_length=1)]
    classes: Annotated[list[Annotated[str, Field(pattern=CLASS)]], Field(min_length=2)] | None = None

    @field_validator("files")
    @classmethod
    def _apart(cls, files: list[PublishedFile]) -> list[PublishedFile]:
        names = [file.name for file in files]
        if len(set(names)) < len(names) or CLASSES_FILE in names:
            raise ValueError(f"expected different names, none of them {CLASSES_FILE}")
        return files

    @field_validator("classes")
    @classmethod
    def _different(cls, classes: list[str] | None) -> list[str] | None:
        if classes and len(set(classes)) < len(classes):
            raise ValueError("expected different names")
        return classes


class GeneratedItem(Section):
    """An item that the project generates itself."""

    kind: Literal["made"]
    generator: str


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
    try:
        return KINDS[kind].model_validate(entry)
    except ValidationError as error:
        raise UserError("\n".join(f"{path}: {_explain(item, detail)}" for detail in error.errors())) from None


def _explain(item: str, detail: Any) -> str:
    key = ".".join([item, *map(str, detail["loc"])])
    if detail["type"] == "missing":
        return f"{key}: missing."
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key."
    pattern = detail.get("ctx", {}).get("pattern", "")
    message = MEANING.get(pattern, detail["msg"].removeprefix("Value error, ").replace("Input should", "it should"))
    return f"{key}: expected {message.removeprefix('expected ')}; received {detail['input']!r}."
