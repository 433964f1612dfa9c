"""Say how revisions compare: the verdict, and the tables of scores, differences, classes and flipped predictions."""

from collections.abc import Mapping, Sequence

import pandas as pd

from stages.draw.block import Block
from stages.draw.numbers import (
    MINUS,
    format_confidence,
    format_percent,
    format_points,
    format_signed,
    name_interval,
)
from stages.draw.page import Html, render_interval
from stages.measure.model_selection import describe_choice, find_detectable_difference
from stages.measure.paired import Difference, Results

LISTED = 10  # rows of a long table that a text shows


def describe_verdict(results: Results) -> list[str]:
    """Return a line on which model has the lower log loss, and one on the accuracies.

    Args:
        results: of two models or more; the first is compared with the best of the others.
    """
    place = results.rival
    first, other = results.names[0], results.names[place]
    difference = results.differences[place - 1]
    new, old = (f"{results.scores[index]['log_loss']:.4f}" for index in (place, 0))
    change, low, high = difference.loss
    where = f"on {results.images} {results.split} images"
    choice = f"Of {len(results.names) - 1} others, {other} is the best by validation log loss."
    said = [choice] if len(results.names) > 2 and results.split == "validation" else []
    if not difference.lost and not difference.won and change == low == high == 0:
        return [*said, f"{other} predicts what {first} predicts {where}."]
    losses = f"{where}: log loss {new} against {old} ({format_signed(change, 4)}, {name_interval(results.confidence)} "
    losses += f"{format_signed(low, 4)} to {format_signed(high, 4)})."
    if low <= 0 <= high:
        said.append(f"{other} and {first} cannot be told apart {losses}")
    else:
        said.append(f"{other} is {'better' if high < 0 else 'worse'} than {first} {losses}")
    gain, *ends = map(format_points, difference.accuracy)
    counts = f"{_count(difference.won)} won, {difference.lost} lost"
    accuracy = f"Accuracy changes by {gain} points ({' to '.join(ends)}): {counts}."
    return [*said, f"{accuracy} {describe_limit(results, difference)}"]


def describe_limit(results: Results, difference: Difference) -> str:
    """Return the smallest difference in accuracy that the images can show.

    Args:
        results: whose images.
        difference: whose disagreements; the more there are, the larger a difference must be.
    """
    least = find_detectable_difference(results.images, results.level, difference.lost + difference.won)
    if least is None:
        return "So few images cannot show any difference in accuracy."
    return f"{_count(results.images)} can show a difference of {100 * least:.1f} points or more."


def judge_drop(results: Results, most: float) -> tuple[bool, str]:
    """Return whether the second model is less accurate than allowed beyond chance, and a sentence on it.

    Args:
        results: of two models.
        most: the drop that is allowed, in points.
    """
    difference = results.differences[0]
    _, low, high = difference.accuracy
    fallen = high < -most / 100
    images, disagreed = results.images, difference.lost + difference.won
    least = find_detectable_difference(images, results.level, disagreed, most / 100)
    limit = "no drop" if least is None else f"a drop of {100 * least:.1f} points or more"
    first, other = results.names
    return fallen, (
        f"{'failed' if fallen else 'passed'}: on {images} {results.split} images, the accuracy of {other} differs from "
        f"that of {first} by {format_points(low)} to {format_points(high)} points; to fail, all of this must be below "
        f"{MINUS}{most:g}. {_count(images)} can show {limit}."
    )


def tabulate_scores(results: Results, sizes: Sequence[Mapping[str, str]], ranges: bool = False) -> Block:
    """Return the scores of each model, best first if there are more than two.

    Args:
        results: of all models.
        sizes: of each model, by what they are of.
        ranges: whether to add a picture of the intervals, for the page.
    """
    balanced = all("balanced_accuracy" in row for row in results.scores)
    order = results.ranking if len(results.names) > 2 else range(len(results.names))
    lowest = min(row["accuracy_low"] for row in results.scores)
    kinds = list(dict.fromkeys(kind for row in sizes for kind in row))
    rows = []
    for place in order:
        row = results.scores[place]
        low, high = row["accuracy_low"], row["accuracy_high"]
        rows.append(
            (
                results.names[place],
                f"{row['log_loss']:.4f}",
                f"{format_percent(row['accuracy'])} %",
                f"{format_percent(low)} to {format_percent(high)}",
                *([_draw_range(row["accuracy"], low, high, lowest)] if ranges else []),
                *([f"{format_percent(row['balanced_accuracy'])} %"] if balanced else []),
                f"{row['calibration_error']:.3f}",
                *(sizes[place].get(kind, "-") for kind in kinds),
            )
        )
    columns = (
        *("revision", "log loss", "accuracy", name_interval(results.confidence)),
        *([""] if ranges else []),
        *(["balanced accuracy"] if balanced else []),
        *("calibration error", *kinds),
    )
    notes = []
    if len(results.names) > 2 and results.split == "validation":
        best = results.names[results.ranking[0]]
        notes.append(f"{best}: {describe_choice(len(results.names), results.images, results.confidence)}.")
    return Block(f"On {results.images} {results.split} images", columns, rows, notes=notes)


def tabulate_differences(results: Results) -> Block:
    """Return how each model differs from the first."""
    rows = [
        (
            results.names[place],
            f"{format_signed(row.loss[0], 4)} ({format_signed(row.loss[1], 4)} to {format_signed(row.loss[2], 4)})",
            f"{format_points(row.accuracy[0])} ({format_points(row.accuracy[1])} to {format_points(row.accuracy[2])})",
            row.won,
            row.lost,
            f"{row.p:.3f}" if row.p >= 0.0005 else "< 0.001",
        )
        for place, row in enumerate(results.differences, start=1)
    ]
    columns = ("revision", "log loss", "accuracy, points", "won", "lost", "McNemar's p")
    together = f", of all {len(rows)} differences together" if len(rows) > 1 else ""
    note = (
        f"In parentheses the {name_interval(results.confidence)}{together}. won and lost: images that only one of the "
        "two gets right. The intervals cover the choice of images, not the variation between training runs: "
        "python -m stages repeat measures that."
    )
    return Block(f"Difference from {results.names[0]}", columns, rows, notes=(note,))


def tabulate_images(results: Results) -> Block | None:
    """Return how many images are shared and left out; None if all are shared."""
    if not any(results.left_out):
        return None
    rows = [
        (name, results.images + left_out, results.images, left_out)
        for name, left_out in zip(results.names, results.left_out, strict=True)
    ]
    columns = ("revision", f"{results.split} images", "compared", "left out")
    note = "Left out: images that another revision lacks in this split, or has in another class."
    return Block("Shared images", columns, rows, notes=(note,))


def tabulate_changes(changes: Sequence[tuple[str, ...]], code: Sequence[str], names: Sequence[str]) -> Block:
    """Return what the revisions were run with, where they differ.

    Args:
        changes: names of params, libraries and data, each with the values of all revisions.
        code: names of modules.
        names: of the revisions.
    """
    notes = [] if changes else ["Params, libraries and data are the same."]
    if code:
        modules = ", ".join(code) if len(code) < 4 else f"{len(code)} modules"
        notes.append(f"The code differs: {modules}.")
    return Block("What differs", ("", *names), list(changes), range(len(names) + 1), notes)


def tabulate_classes(results: Results) -> Block:
    """Return the share of each class's images predicted correctly, the largest loss first."""
    shares = pd.concat([table.groupby("class")["right"].mean() for table in results.tables], axis=1)
    counts = results.tables[0]["class"].value_counts()
    change = shares.iloc[:, results.rival] - shares.iloc[:, 0]
    order = sorted(shares.index, key=lambda name: (change[name], name))
    rows = [
        (name, counts[name], *(format_percent(share) for share in shares.loc[name]), format_points(change[name]))
        for name in order
    ]
    last = f"{results.names[results.rival]} - {results.names[0]}".replace("-", MINUS)
    columns = ("class", "images", *results.names, last)
    return Block("Class by class, % right", columns, rows[:LISTED], rest=rows[LISTED:])


def tabulate_flips(results: Results) -> list[Block]:
    """Return the images that flipped between the first model and the best of the others: lost, then won."""
    rows = [
        [
            (row["source"], row["class"], row["wrong"], format_confidence(row["wrong_confidence"]))
            for _, row in flips.iterrows()
        ]
        for flips in results.flips
    ]
    columns = ("image", "class", "wrongly predicted", "confidence")
    return [
        Block(f"{heading}: {len(lines)}", columns, lines[:LISTED], (0, 1, 2), rest=lines[LISTED:])
        for heading, lines in zip(name_flips(results), rows, strict=True)
    ]


def name_flips(results: Results) -> tuple[str, str]:
    """Return the headings of lost and of won images."""
    first, other = results.names[0], results.names[results.rival]
    images = f"{results.split.title()} images right with"
    return f"{images} {first}, wrong with {other}", f"{images} {other}, wrong with {first}"


def tabulate_results(results: Results, sizes: Sequence[Mapping[str, str]], ranges: bool = False) -> list[Block]:
    """Return the tables of scores and differences, and of shared images if some are left out.

    Args:
        results: of all models.
        sizes: see ``tabulate_scores``.
        ranges: see ``tabulate_scores``.
    """
    images = tabulate_images(results)
    blocks = [tabulate_scores(results, sizes, ranges), tabulate_differences(results)]
    return [*blocks, images] if images else blocks


def _draw_range(value: float, low: float, high: float, lowest: float) -> Html:
    """Return an interval as a bar, on an axis from a little below the lowest to 100 %."""
    start = int(10 * min(0.9, lowest)) / 10
    more = f' style="width:100px;margin:0" title="from {100 * start:.0f} to 100 %"'
    return render_interval(value, (low, high), (start, 1), "tuned", more)


def _count(images: int) -> str:
    return f"{images} image{'s' if images != 1 else ''}"
