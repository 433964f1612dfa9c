"""Read the tables that stages wrote, for the report and the model card."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.base.files import check_names, refuse_damaged, unescape
from stages.training.history import COLUMNS

_SHARES = ("finetuned_f1", "finetuned_precision", "finetuned_recall")
# Columns that the report needs. Types are given, because a class may be called "01" or "NA".
_COLUMNS: dict[str, dict[str, type]] = {
    "classes.csv": {"class": str, "train": int, "val": int, "test": int},
    "rejects.csv": {"source": str, "class": str, "reason": str},
    "history.csv": {"phase": str, **dict.fromkeys(COLUMNS[1:], float), "epoch": int, "kept": int},
    "layers.csv": {"name": str, "type": str, "parameters": int, "state": str},
    "reliability.csv": {
        "images": int,
        **dict.fromkeys(("confidence", "accuracy", "accuracy_low", "accuracy_high"), float),
    },
    "per_class.csv": {"class": str, "images": int, **dict.fromkeys(_SHARES, float)},
}


def read_table(path: Path) -> pd.DataFrame:
    """Read one of the CSV files that stages write.

    Raises:
        UserError: it is missing or damaged.
    """
    columns = _COLUMNS[path.name]
    with refuse_damaged(path, "a table"):
        empty = {column: [""] for column, kind in columns.items() if kind is float}
        found = pd.read_csv(path, keep_default_na=False, na_values=empty, dtype=columns)
        check_names(columns, map(str, found))
    return found.assign(**{column: found[column].map(unescape) for column, kind in columns.items() if kind is str})


def read_pairs(path: Path) -> pd.DataFrame:
    """Read pairs of near duplicates."""
    with refuse_damaged(path, "pairs of near duplicates"):
        found = pd.read_parquet(path)
        check_names(
            (f"{name}{column}" for name in ("", "other_") for column in ("source", "class", "picture")), map(str, found)
        )
        return found


def read_layers(path: Path, thawed: bool) -> pd.DataFrame:
    """Read which layers of the backbone were frozen: all, if only the head was trained, whatever the freeze depth.

    Args:
        path: layers.csv of finetune.
        thawed: whether anything was trained after the head.
    """
    layers = read_table(path)
    return layers if thawed else layers.assign(state="frozen")


def read_matrix(path: Path, images: int) -> pd.DataFrame:
    """Read a confusion matrix.

    Args:
        path: CSV file.
        images: how many it must count.
    """
    with refuse_damaged(path, f"a confusion matrix of {images} images"):
        cells = pd.read_csv(path, header=None, dtype=str, keep_default_na=False)
        names = [unescape(name) for name in cells.iloc[1:, 0]]
        counts = cells.iloc[1:, 1:].to_numpy().astype(int)
        if counts.sum() != images:
            raise ValueError(f"one of {counts.sum()}")
        return pd.DataFrame(counts, index=names, columns=names)


def rank_confusions(matrix: pd.DataFrame) -> list[tuple[str, str, int, int]]:
    """Return the pairs of classes that were confused, the most frequent first.

    Args:
        matrix: images; rows are actual classes, columns predicted ones.

    Returns:
        For each pair: the actual class, the predicted one, the images, and all images of the actual class.
    """
    counts = matrix.to_numpy()
    totals = counts.sum(axis=1)
    mistakes = counts * (1 - np.eye(len(counts), dtype=int))
    order = np.argsort(-mistakes, axis=None, kind="stable")[: np.count_nonzero(mistakes)]
    pairs = (divmod(int(place), len(counts)) for place in order)
    return [
        (matrix.index[actual], matrix.columns[predicted], int(counts[actual, predicted]), int(totals[actual]))
        for actual, predicted in pairs
    ]
