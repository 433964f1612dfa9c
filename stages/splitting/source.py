"""Read the data set of the ``split`` section of params.yaml."""

from pathlib import Path

from stages.schema.split import Split
from stages.sources.columns import Columns
from stages.sources.data_set import DataSet
from stages.sources.read import read_data_set
from stages.sources.tables import find_labels


def read_source(params: Split, tables: Path) -> DataSet:
    """Read the data set; its images are read on demand.

    Args:
        params: the section.
        tables: the folder of tables that git tracks, which may contain the label table.

    Raises:
        UserError: it is not a data set; the message describes the layouts.
    """
    source = Path(params.source)
    labels = find_labels(params.table, select_columns(params), source, tables)
    return read_data_set(source, params.parts, params.names, labels)


def select_columns(params: Split) -> Columns:
    """Return the column names from params.yaml."""
    named = (
        {role: name for role, name in dict(params.labels).items() if role != "table"}
        if isinstance(params.labels, dict)
        else {}
    )
    return Columns(**named, group=params.group.get("column") if isinstance(params.group, dict) else None)
