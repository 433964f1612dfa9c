"""Pictures of some predictions, for the report: the images, what the network sees, and what speaks for a class."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from stages.explain.explainer import Explainer
from stages.explain.overlay import draw_evidence, frame
from stages.images.contract import Contract
from stages.images.load import load
from stages.images.split_file import SplitFile
from stages.images.thumbnail import SIDE, encode, encode_thumbnail, make_thumbnail
from stages.measure.metrics import choose_examples

EXAMPLES = 100  # pictures of each kind, for the report to choose from
EXPLAINED = {"wrong": 8, "unsure": 4, "right": 4}  # those with maps: occlusion takes 50 passes for an image


def make_examples(split: SplitFile, predictions: pa.Table, contract: Contract, explainer: Explainer) -> pa.Table:
    """Return pictures of some of the fine-tuned model's predictions.

    Args:
        split: the test images.
        predictions: as ``stages.measure.predictions.tabulate`` returns them.
        contract: how an image file becomes pixels.
        explainer: of the fine-tuned model.

    Returns:
        For each example its kind (see ``choose_examples``), source, class, predicted class, confidence and picture; for
        handwriting also what the network sees (seen). For the first of each kind, evidence: the picture under the map
        of the predicted class; for a mistake, evidence_actual: under that of the actual class; and their method.
    """
    table = predictions.select(["source", "class", "finetuned_predicted", "finetuned_confidence", "sha256"]).to_pandas()
    table.columns = pd.Index(["source", "class", "predicted", "confidence", "sha256"])
    chosen = choose_examples(table, EXAMPLES)
    first = chosen.groupby("kind").cumcount() < chosen["kind"].map(EXPLAINED).fillna(0)
    explained = set(chosen.index[first])
    rows = dict(chosen.iterrows())
    pictures = {
        place: [
            make_thumbnail(image, contract.range),
            encode_thumbnail(load(image, contract)) if contract.form == "ink" else None,
            *(explain(image, rows[place], split.classes, contract, explainer) if place in explained else (None, None)),
        ]
        for place, image in enumerate(split.images())
        if place in rows
    }
    for number, column in enumerate(("picture", "seen", "evidence", "evidence_actual")):
        chosen[column] = [pictures[place][number] for place in chosen.index]
    chosen["method"] = explainer.method
    chosen.loc[~first.to_numpy(), ["evidence", "evidence_actual", "method"]] = None
    return pa.Table.from_pandas(chosen.drop(columns="sha256"), preserve_index=False)


def explain(
    image: bytes, row: pd.Series, classes: Sequence[str], contract: Contract, explainer: Explainer
) -> tuple[bytes, bytes | None]:
    """Return an image under the map of the predicted class, and for a mistake under that of the actual class.

    Args:
        image: the bytes of the file.
        row: class and predicted class.
        classes: names, in the order of the outputs.
        contract: how an image file becomes pixels.
        explainer: of the model.
    """
    named = dict.fromkeys((row["predicted"], row["class"]))
    maps = explainer.locate(load(image, contract), np.array([classes.index(name) for name in named]))
    drawn = [encode(one) for one in draw_evidence(frame(image, contract, SIDE), maps)]
    return drawn[0], drawn[1] if len(drawn) > 1 else None
