"""Which of many predictions are worth a look."""

import pandas as pd


def choose_examples(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return up to ``count`` test images of each kind, in the order in which to show them.

    Args:
        predictions: one row an image: class, predicted, confidence, sha256 (of its file).
        count: how many of each kind.

    Returns:
        The chosen rows with their kind. "wrong": mistakes, the most confident first. "right": what was predicted right,
        and "sample": any image, both in the order of their hashes, which is as good as drawn by lot. A row may be of
        two kinds.
    """
    drawn = predictions.sort_values("sha256", kind="stable")
    right = drawn["predicted"] == drawn["class"]
    mistakes = drawn[~right].sort_values("confidence", ascending=False, kind="stable")
    kinds = {"wrong": mistakes, "right": drawn[right], "sample": drawn}
    return pd.concat([rows.head(count).assign(kind=kind) for kind, rows in kinds.items()])
