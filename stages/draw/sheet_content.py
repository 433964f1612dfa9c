"""Choose the images of the contact sheets, and caption them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from stages.draw.numbers import format_confidence
from stages.draw.sheets import Group, Tile
from stages.images.preview import PreviewImage
from stages.images.thumbnail import encode_thumbnail, make_thumbnail

# Of the examples that evaluate stored.
COLUMNS = (
    "kind",
    "source",
    "class",
    "predicted",
    "confidence",
    "picture",
    "seen",
    "evidence",
    "evidence_actual",
    "method",
)


def choose_evenly(rows: pd.DataFrame, classes: Sequence[str], count: int) -> pd.DataFrame:
    """Return up to ``count`` rows, evenly over the classes as far as there are enough, ordered by class.

    Args:
        rows: images with their ``class``; earlier rows are preferred.
        classes: all names, in the order to show them.
        count: how many to choose.
    """
    turn = rows.groupby("class").cumcount().sort_values(kind="stable")
    chosen = rows.loc[turn.index].head(count)
    places = {name: place for place, name in enumerate(classes)}
    return chosen.sort_values("class", key=lambda names: names.map(places), kind="stable")


def group_samples(split: str, images: int, chosen: pd.DataFrame) -> Group:
    """Return the sheet of a split's images.

    Args:
        split: its name.
        images: how many it holds.
        chosen: those to show: class, source, picture.
    """
    shown = "" if len(chosen) == images else f", {len(chosen)} of them shown"
    tiles = [Tile(row["picture"], row["class"], row["source"]) for _, row in chosen.iterrows()]
    return Group(f"{split}: {images} image{'s' if images != 1 else ''}{shown}", tiles)


def group_pairs(near: pd.DataFrame) -> Group:
    """Return the sheet of near duplicates, side by side."""
    shown = near[near["picture"].notna()]
    more = f", {len(shown)} of them shown" if len(shown) < len(near) else ""
    tiles = [
        Tile(row[f"{name}picture"], row[f"{name}class"], row[f"{name}source"])
        for _, row in shown.iterrows()
        for name in ("", "other_")
    ]
    return Group(f"{len(near)} pair{'s' if len(near) != 1 else ''}{more}", tiles)


def group_predictions(examples: pd.DataFrame, wrong: int, right: int, count: int) -> list[Group]:
    """Return the sheets of mistakes and of correct predictions, half and half if there are enough of both.

    Without mistakes, the first sheet shows the least confident predictions.

    Args:
        examples: kind ("wrong", "unsure", "right" or another), source, class, predicted, confidence, picture; each kind
            in the order to show it, and what the network saw (seen), if stored.
        wrong: mistakes on all test images.
        right: test images predicted correctly.
        count: images to show in total.
    """
    by_kind = {kind: examples[examples["kind"] == kind] for kind in ("wrong", "unsure", "right")}
    half = (count + 1) // 2
    mistakes = by_kind["wrong"].head(max(half, count - len(by_kind["right"])))
    unsure = by_kind["unsure"].head(half)
    others = by_kind["right"][~by_kind["right"]["source"].isin(unsure["source"])]
    others = others.head(count - len(mistakes) - len(unsure))
    groups = []
    if len(mistakes):
        order = "" if wrong == 1 else ", the most confident first"
        tiles = [_tile(row, False) for _, row in mistakes.iterrows()]
        groups.append(Group(f"Wrong: {_part(len(mistakes), wrong)}{order}", tiles))
    if len(unsure):
        tiles = [_tile(row, True) for _, row in unsure.iterrows()]
        groups.append(Group(f"Right: {_part(len(unsure), right)}, the least confident first", tiles))
    if len(others):
        order = "" if len(others) == right else ", chosen at random"
        tiles = [_tile(row, True) for _, row in others.iterrows()]
        groups.append(Group(f"Right: {_part(len(others), right)}{order}", tiles))
    return groups


def group_evidence(examples: pd.DataFrame) -> list[list[Tile]]:
    """Return for each example with maps: the image, and the image under the map of the predicted and the actual class.

    Args:
        examples: as for ``group_predictions``, with evidence and evidence_actual, which may be None.
    """
    shown = examples[examples["evidence"].notna()].drop_duplicates("source")
    rows = []
    for _, row in shown.iterrows():
        right = row["class"] == row["predicted"]
        maps = [(row["evidence"], row["predicted"]), (row["evidence_actual"], row["class"])]
        tiles = [Tile(picture, f"for {name}", "") for picture, name in maps if picture is not None]
        rows.append([replace(_tile(row, right), seen=None), *tiles])
    return rows


def _tile(row: Any, right: bool) -> Tile:
    actual, confidence = "" if right else f"is {row['class']}", format_confidence(row["confidence"])
    return Tile(row["picture"], row["predicted"], row["source"], right, confidence, actual, row["seen"])


def group_views(pixels: np.ndarray, images: Sequence[PreviewImage]) -> list[Group]:
    """Return a sheet for each image: the image itself, then its views.

    Args:
        pixels: uint8 (images, views, side, side, channels).
        images: what is in them.
    """
    mixed = any(len(shares) > 1 for image in images for shares in image.shares)
    groups = []
    for row, image in zip(pixels, images, strict=True):
        tiles = []
        for number, (one, shares) in enumerate(zip(row, image.shares, strict=True)):
            parts = [f"{100 * share:.0f} % {name}" for name, share in shares if share >= 0.005]
            words = parts if mixed and number else [f"view {number}" if number else "the image"]
            tiles.append(Tile(make_thumbnail(encode_thumbnail(one)), words[0], "", second=", ".join(words[1:])))
        groups.append(Group(f"{image.class_name}: {image.source}", tiles))
    return groups


def _part(shown: int, total: int) -> str:
    return str(total) if shown == total else f"{shown} of {total}"
