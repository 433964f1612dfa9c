"""Read the data set that the ``split`` section of params.yaml describes."""

from pathlib import Path

from stages.schema.split import Split
from stages.sources.columns import Columns
from stages.sources.data_set import DataSet
from stages.sources.read import read_data_set
from stages.sources.tables import find_labels


def read_source(params: Split, tables: Path) -> DataSet:
    """Read the data set; its images are read when they are asked for.

    Args:
        params: its source, parts, names, and columns.
        tables: the folder of tables that git keeps, where the table of labels may lie.

    Raises:
        UserError: it is no data set; the message says what one looks like.
    """
    source = Path(params.source)
    labels = find_labels(params.table(), select_columns(params), source, tables)
    return read_data_set(source, params.parts, params.names, labels)


def select_columns(params: Split) -> Columns:
    """Return the columns of tables that are named."""
    named = (
        {role: name for role, name in dict(params.labels).items() if role != "table"}
        if isinstance(params.labels, dict)
        else {}
    )
    return Columns(**named, group=params.group.get("column") if isinstance(params.group, dict) else None)
