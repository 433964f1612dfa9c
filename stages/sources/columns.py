"""Recognize the columns of a label table by name, and refuse tables with several labels per image."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from stages.base.errors import UserError
from stages.sources.data_set import join_names

Role = Literal["file", "label", "split", "group"]

# Common column names in public data sets, in lowercase.
NAMES: dict[Role, re.Pattern[str]] = {
    "file": re.compile(r"file|(file|image)_?(name|path|file|id)|path|image|img|id"),
    "label": re.compile(r"labels?|class(_?(id|name))?|category|species|target"),
    "split": re.compile(r"split|part|set|subset"),
}
REQUIRED: tuple[Role, ...] = ("file", "label")
_BOXES = re.compile(r"bbox(es)?|boxes|objects|x_?(min|max)")
_MASKS = re.compile(r"masks?|encodedpixels|rle|segmentation|trimap")
SHOWN = 12  # columns in a message
ONE_CLASS = "Thaw learns one class per image"


@dataclass(frozen=True)
class Columns:
    """Column names from params.yaml; None for those to be recognized by ``NAMES``.

    Attributes:
        file: the column of image files.
        label: the column of classes.
        split: the column of splits; optional in the table.
        group: the column of groups, such as patients; never recognized.
    """

    file: str | None = None
    label: str | None = None
    split: str | None = None
    group: str | None = None


def pick_columns(
    held: Sequence[str], asked: Columns, table: str, roles: Sequence[Role], flags: Collection[str] = ()
) -> dict[Role, str | None]:
    """Return the column for each role; None for an optional one that the table lacks.

    Args:
        held: the names of all columns.
        asked: the column names from params.yaml.
        table: the table's name in messages.
        roles: the roles to resolve, besides "group".
        flags: columns with only 0 and 1.

    Raises:
        UserError: a column does not exist, cannot be recognized, or contains boxes or masks.
    """
    found: dict[Role, str | None] = {}
    path = f"table: {table}, " if "file" in roles else ""
    for role in (*roles, "group"):
        name = getattr(asked, role)
        known = [column for column in held if role in NAMES and NAMES[role].fullmatch(column.lower())]
        key = "split.group.column" if role == "group" else f"split.labels.{role}"
        if name is not None:
            if name not in held:
                raise UserError(f"{key}: there is no column {name} in {table}. It has: {join_names(held, SHOWN)}.")
            found[role] = name
        elif len(known) == 1:
            found[role] = known[0]
        elif role == "label" and not known and len(flags) > 1:
            raise UserError(
                f"{table}: a column of 0 and 1 for each class ({join_names(sorted(flags), SHOWN)}); expected one "
                f"column with the names of the classes. {ONE_CLASS}."
            )
        elif known or role in REQUIRED:
            which = (
                f"several columns that may hold it: {join_names(known, SHOWN)}"
                if known
                else f"none among {join_names(held, SHOWN)}"
            )
            raise UserError(
                f"{table}: expected a column for the {role} of each image, found {which}. Name it: "
                f"split.labels: {{{path}{role}: COLUMN}}."
            )
        else:
            found[role] = None
    if asked.label is None:
        for kind, names in (("boxes", _BOXES), ("masks", _MASKS)):
            if speaking := [column for column in held if names.fullmatch(column.lower())]:
                raise UserError(
                    f"{table}: column {speaking[0]} contains {kind}. {ONE_CLASS}: expected a table of files and "
                    f"classes. To ignore it, name the labels: split.labels: {{{path}label: {found['label']}}}."
                )
    return found


def require_group(cell: object, asked: Columns, table: str, row: int) -> None:
    """Raise UserError if a row has no group, and ``asked`` names a column of groups.

    Args:
        cell: the row's group.
        asked: the column names from params.yaml.
        table: the table's name in messages.
        row: its number in messages.
    """
    if asked.group and cell in ("", None):
        raise UserError(f"{table}: row {row} has no {asked.group}; expected a group for every image.")


def refuse_several(labels: Collection[str], table: str) -> None:
    """Refuse labels that name several classes, such as "scab rust" if "scab" and "rust" are labels, too.

    Args:
        labels: all labels.
        table: the table's name in messages.

    Raises:
        UserError: a label names several classes.
    """
    known = set(labels)
    for label in sorted(known):
        words = re.split(r"[\s,;|]+", label.strip("[]{}()"))
        if "|" in label or label[:1] in ("[", "{") or (len(words) > 1 and known.issuperset(words)):
            raise UserError(
                f"{table}: the label '{label}' names several classes. {ONE_CLASS}: expected rows with one label each."
            )
