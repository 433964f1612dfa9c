"""Make the page of a comparison: verdict, tables, learning curves, and the pictures whose predictions flipped."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from stages.draw.block import Block, render_block
from stages.draw.comparison import (
    describe_verdict,
    tabulate_classes,
    tabulate_flips,
    tabulate_results,
)
from stages.draw.numbers import format_confidence
from stages.draw.overlaid_curves import COLORS, draw_overlaid
from stages.draw.page import Html, document, note, picture, section, sheet
from stages.draw.sheets import Group, Tile
from stages.measure.paired import Results

PICTURES = 24  # of each kind of flip

_CURVES = "Training loss and accuracy are averages over an epoch, on augmented views if there are any."


def render_page(
    judged: Sequence[str],
    notes: Sequence[str],
    results: Sequence[Results],
    sizes: Sequence[Mapping[str, str]],
    changes: Block,
    histories: Mapping[str, pd.DataFrame],
    pictures: Mapping[str, bytes],
    folder: Path,
) -> str:
    """Return the page.

    Args:
        judged: what was said about a drop in accuracy, if it was asked for.
        notes: what is missing or doubtful.
        results: of each split.
        sizes: of each model, by what they are of.
        changes: what the revisions were run with.
        histories: of training, by revision.
        pictures: of images that flipped, by hash.
        folder: for the picture of the curves.
    """
    first, *others = results
    parts = [*_render_results(first, sizes, pictures)]
    parts.insert(2, render_block(changes))  # below the scores and differences
    for other in others:
        parts += [section(f"The {other.split} images", *describe_verdict(other))]
        parts += _render_results(other, sizes, pictures)
    if histories:
        draw_overlaid(dict(list(histories.items())[: len(COLORS)]), folder / "curves.png")
        left_out = f" The first {len(COLORS)} of {len(histories)} revisions." if len(histories) > len(COLORS) else ""
        curves = picture((folder / "curves.png").read_bytes(), "Learning curves", 620)
        parts.insert(3, section("Learning", curves, note(_CURVES + left_out)))
    summary = " ".join([*describe_verdict(first), *judged])
    return document("Comparison", summary, " ".join(notes), parts)


def select_pictured(results: Results) -> list[str]:
    """Return the hashes of the images to show."""
    return [str(sha256) for rows in results.flips for sha256 in rows.index[:PICTURES]]


def _render_results(
    results: Results, sizes: Sequence[Mapping[str, str]], pictures: Mapping[str, bytes]
) -> Iterator[Html]:
    yield from map(render_block, tabulate_results(results, sizes, ranges=True))
    blocks = tabulate_flips(results)
    groups = [
        _group(rows, pictures, block.heading, right)
        for rows, block, right in zip(results.flips, blocks, (False, True), strict=True)
        if len(rows)
    ]
    if any(group.tiles for group in groups):
        yield section(f"Flipped {results.split} images", sheet(groups, 130))
    else:
        yield from (render_block(block) for block in blocks if block.rows)
    yield render_block(tabulate_classes(results))


def _group(flips: pd.DataFrame, pictures: Mapping[str, bytes], heading: str, right: bool) -> Group:
    """Return the sheet of flips that have pictures; ``right`` says whether the new predictions are."""
    tiles = []
    for sha256, row in flips.iterrows():
        if str(sha256) in pictures:
            wrong = row["wrong"], format_confidence(row["wrong_confidence"])
            actual = row["class"], format_confidence(row["right_confidence"])
            now, before = (actual, wrong) if right else (wrong, actual)
            words = f"before: {before[0]} · {before[1]}".replace(" %", "\N{NO-BREAK SPACE}%")
            tiles.append(Tile(pictures[str(sha256)], now[0], row["source"], right, now[1], words))
    return Group(heading if len(tiles) == len(flips) else f"{heading}, {len(tiles)} of them shown", tiles)
