"""Read the data set that the ``split`` section of params.yaml describes."""

from pathlib import Path

from stages.schema.split import Split
from stages.sources.sample import DataSet
from stages.sources.samples import read_set
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
    labels = find_labels(params.table(), params.columns(), source, tables)
    return read_set(source, params.parts, params.names, labels)
