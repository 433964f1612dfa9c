"""Tables of labels: CSV or TSV files with a line of column names and a row for each image.

file,label[,split]             other columns are ignored
train/metadata.csv, test/...   a table in the folder of each part, as Hugging Face's imagefolder has them
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stages.base.errors import UserError
from stages.base.splits import Part
from stages.sources.columns import Columns, pick_columns
from stages.sources.data_set import normalize_name
from stages.sources.parts import recognize_part
from stages.sources.tree import File, Folder, is_table, refer_to_file

SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Labels:
    """A table of labels.

    Attributes:
        name: its path inside the data set, or how to call it where it lies elsewhere; empty for none.
        columns: the columns that were named.
        file: the table, where it does not lie inside the data set.
    """

    name: str = ""
    columns: Columns = field(default_factory=Columns)
    file: File | None = None


@dataclass(frozen=True)
class TableRow:
    """A row of a table of labels.

    Attributes:
        number: as a spreadsheet counts, the line of column names being 1.
        folder: what ``file`` is relative to, inside the data set.
        file: as the table names it.
        label: the class; empty for none, like the others.
        split: the cell of the column of splits.
        group: the cell of the column of groups.
    """

    number: int
    folder: str
    file: str
    label: str
    split: str
    group: str


def find_labels(table: str, columns: Columns, source: Path, tables: Path) -> Labels:
    """Return the table of labels: one inside the data set, or in the folder of tables that git keeps.

    A table anywhere else would be no dependency of the stage that reads it.

    Args:
        table: its path, inside the data set or in the project; empty for none.
        columns: the columns that were named.
        source: the data set.
        tables: the folder of tables.

    Raises:
        UserError: the table lies elsewhere.
    """
    path = Path(table)
    if source in path.parents:
        return Labels(path.relative_to(source).as_posix(), columns)
    if table and path.parent == tables:
        if not path.is_file():
            raise UserError(f"split.labels: there is no {table}.")
        return Labels(table, columns, refer_to_file(path))
    if table and path.exists():
        raise UserError(
            f"split.labels: {table} is outside {source}, where DVC would not see it change. Move it into the data set, "
            f"or to {tables}/, which git keeps."
        )
    return Labels(table, columns)


def find_part(path: str) -> Part | None:
    """The part that one of the folders above a file is named after."""
    return next((part for name in path.split("/")[:-1] if (part := recognize_part(name))), None)


def find_tables(root: Folder, outer: Folder, name: str, where: str) -> dict[str, File]:
    """Return the table at a path in the data set, or those of that name in the folders of its parts."""
    for folder in (root, outer):
        files = dict(folder.walk())
        if name in files:
            return {name: files[name]}
        inside = {path: file for path, file in files.items() if path.endswith(f"/{name}")}
        if len(inside) == 1 or (inside and len({find_part(path) for path in inside} - {None}) == len(inside)):
            return inside
        if inside:
            held = ", ".join(sorted(inside)[:SHOWN])
            raise UserError(f"split.labels: {where} holds several tables {name}: {held}. Name one by its path.")
    held = ", ".join(list_tables(outer)[:SHOWN]) or "no .csv or .tsv file"
    raise UserError(f"split.labels: there is no {name} in {where}; it holds {held}.")


def list_tables(folder: Folder) -> list[str]:
    """Return the paths of the tables in a folder and below it."""
    return [path for path, _ in folder.walk() if is_table(path)]


def read_rows(table: File, name: str, folder: str, columns: Columns, notes: list[str]) -> Iterator[TableRow]:
    """Go through the rows of a table. All cells are text: a class may be called NA or 001.

    Args:
        table: a CSV or TSV file in UTF-8; commas, semicolons or tabs stand between its cells.
        name: how to call it in messages.
        folder: what its files are relative to, inside the data set.
        columns: the columns that were named.
        notes: what there is to say of it is added.

    Raises:
        UserError: it is no such table, or lacks a column.
    """
    import pandas as pd  # here: it takes half a second, which class folders do not need

    try:
        text = table.read().decode("utf-8-sig")
        separator = max(",;\t", key=text.partition("\n")[0].count)
        frame = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, index_col=False)
    except UnicodeDecodeError:
        raise UserError(f"{name}: expected a table in UTF-8, received other bytes. Save it as CSV UTF-8.") from None
    except (OSError, ValueError) as error:  # what pandas raises for text that is no table is a ValueError
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"{name}: expected a table whose first line names the columns: {reason}.") from None
    frame.columns = [normalize_name(str(column).strip()) for column in frame.columns]
    frame = frame.apply(lambda column: column.str.strip())
    flags = [column for column in frame if len(frame) and frame[column].isin(["0", "1", "0.0", "1.0"]).all()]
    picked = pick_columns(list(frame.columns), columns, name, ("file", "label", "split"), flags)
    if "group" in frame.columns and not columns.group:
        notes.append(f"{name}: its column group is not used; split.group: {{column: group}} keeps groups together")
    empty = [""] * len(frame)
    columns_of = (picked["file"], picked["label"], picked["split"], picked["group"])
    cells = (list(frame[column]) if column else empty for column in columns_of)
    for number, (file, label, split, group) in enumerate(zip(*cells, strict=True), 2):
        if columns.group and not group:
            raise UserError(f"{name}: row {number} has no {columns.group}; expected a group for every image.")
        yield TableRow(
            number,
            folder,
            normalize_name(file.replace("\\", "/").removeprefix("./")),
            normalize_name(label),
            split,
            group,
        )
