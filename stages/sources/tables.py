"""Read label tables: CSV or TSV files with a header and a row for each image.

file,label[,split]             other columns are ignored
train/metadata.csv, test/...   a table in the folder of each part, the layout of Hugging Face's imagefolder
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stages.base.errors import UserError, summarize
from stages.base.splits import Part
from stages.sources.columns import Columns, pick_columns, require_group
from stages.sources.data_set import normalize_name
from stages.sources.parts import recognize_part
from stages.sources.tree import File, Folder, is_table, refer_to_file

SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Labels:
    """A label table.

    Attributes:
        name: its path, in the data set or elsewhere; empty if there is none.
        columns: the column names from params.yaml.
        file: the table, if it is outside the data set.
    """

    name: str = ""
    columns: Columns = field(default_factory=Columns)
    file: File | None = None


@dataclass(frozen=True)
class TableRow:
    """A row of a label table. Missing cells are empty.

    Attributes:
        number: as in a spreadsheet; the header is row 1.
        folder: the folder in the data set that ``file`` is relative to.
        file: the image file.
        label: the class.
        split: the cell in the column of splits.
        group: the cell in the column of groups.
    """

    number: int
    folder: str
    file: str
    label: str
    split: str
    group: str


def find_labels(table: str, columns: Columns, source: Path, tables: Path) -> Labels:
    """Return the label table: in the data set, or in the folder of tables that git tracks.

    A table anywhere else would not be a dependency of the stage.

    Args:
        table: its path, in the data set or in the project; empty if there is none.
        columns: the column names from params.yaml.
        source: the data set.
        tables: the folder of tables.

    Raises:
        UserError: the table is elsewhere.
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
    """Return the part that the name of a folder above a file mentions."""
    return next((part for name in path.split("/")[:-1] if (part := recognize_part(name))), None)


def find_tables(root: Folder, outer: Folder, name: str, where: str) -> dict[str, File]:
    """Return the table at a path in the data set, or the tables of that name in the folders of its parts.

    Args:
        root: the folder of the images.
        outer: the folder that may contain the table beside an archive of the images.
        name: the path or name.
        where: the data set's name in messages.

    Raises:
        UserError: there is no such table, or there are several.
    """
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
    """Return the paths of all tables in a folder."""
    return [path for path, _ in folder.walk() if is_table(path)]


def read_rows(table: File, name: str, folder: str, columns: Columns, notes: list[str]) -> Iterator[TableRow]:
    """Yield the rows of a table. All cells are text: a class may be named NA or 001.

    Args:
        table: a CSV or TSV file in UTF-8, with commas, semicolons or tabs between cells.
        name: its name in messages.
        folder: the folder in the data set that its file names are relative to.
        columns: the column names from params.yaml.
        notes: a list to which notes for the user are added.

    Raises:
        UserError: it is not such a table, or lacks a column.
    """
    import pandas as pd  # here: it takes half a second, and class folders do not need it

    try:
        text = table.read().decode("utf-8-sig")
        separator = max(",;\t", key=text.partition("\n")[0].count)
        frame = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, index_col=False)
    except UnicodeDecodeError:
        raise UserError(f"{name}: expected a table in UTF-8, received other bytes. Save it as CSV UTF-8.") from None
    except (OSError, ValueError) as error:  # pandas raises ValueError on text that is not a table
        reason = summarize(error)
        raise UserError(f"{name}: expected a table whose first line names the columns: {reason}.") from None
    frame.columns = [normalize_name(str(column).strip()) for column in frame.columns]
    frame = frame.apply(lambda column: column.str.strip())
    flags = [column for column in frame if len(frame) and frame[column].isin(["0", "1", "0.0", "1.0"]).all()]
    picked = pick_columns(list(frame.columns), columns, name, ("file", "label", "split"), flags)
    if "group" in frame.columns and not columns.group:
        notes.append(f"{name}: its column group is not used; split.group: {{column: group}} keeps groups together")
    cells = pd.DataFrame({role: frame[column] if column else "" for role, column in picked.items()})
    for number, row in enumerate(cells.to_dict("records"), 2):
        require_group(row["group"], columns, name, number)
        file = normalize_name(row["file"].replace("\\", "/").removeprefix("./"))
        yield TableRow(number, folder, file, normalize_name(row["label"]), row["split"], row["group"])
