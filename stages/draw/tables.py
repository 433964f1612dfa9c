"""Render what stages wrote as tables of the report."""

from typing import Any

import pandas as pd

from stages.draw.numbers import format_percent
from stages.draw.page import Html, bar, chip, folded, note, section, table
from stages.draw.results import rank_confusions

_LISTED = 200  # rows of a long list; its file has them all
_CONFUSED = 10
_WEAKEST = 25


def describe_data(summary: dict[str, Any], classes: int, about: dict[str, str] | str) -> str:
    """Return a line on the number of classes and images, and the source and license of the data.

    Args:
        summary: content of data/split/summary.json.
        classes: how many.
        about: split.about.
    """
    counts = ", ".join(f"{count} {split}" for split, count in summary["images"].items())
    named = [f"{key}: {text}" for key, text in about.items()] if isinstance(about, dict) else []
    return "; ".join([f"{classes} classes", f"images: {counts}", *named])


def render_confusions(matrix: pd.DataFrame) -> Html:
    """Return the most frequent mistakes of a confusion matrix (rows actual, columns predicted)."""
    pairs = rank_confusions(matrix)
    if not pairs:
        return note("No test image was misclassified.")
    rows = [(actual, predicted, f"{count} of {total}") for actual, predicted, count, total in pairs[:_CONFUSED]]
    more = f": {len(rows)} of {len(pairs)} pairs of classes" if len(rows) < len(pairs) else ""
    return Html(f"<h3>Most frequent mistakes{more}</h3>" + table(("Actual", "Predicted", "Images"), rows, words=(0, 1)))


def render_classes(per_class: pd.DataFrame) -> Html:
    """Return precision, recall and F1 by class, the fine-tuned model's weakest class first."""
    ordered = per_class.sort_values("finetuned_f1", kind="stable")
    tested, untested = ordered[ordered["images"] > 0], ordered[ordered["images"] == 0]
    two = "head_f1" in per_class  # a trained head-only model to compare with
    rows: list[tuple[object, ...]] = [
        (
            row["class"],
            row["images"],
            *([format_percent(row["head_f1"])] if two else []),
            bar(row["finetuned_f1"]),
            format_percent(row["finetuned_precision"]),
            format_percent(row["finetuned_recall"]),
        )
        for _, row in tested.iterrows()
    ]
    columns = ("Class", "Test images", *(("F1 head only", "F1 fine-tuned") if two else ("F1",)), "Precision", "Recall")
    rows += [(name, 0, *[""] * (len(columns) - 2)) for name in untested["class"]]
    shown = table(columns, rows[:_WEAKEST])
    if len(rows) > _WEAKEST:
        shown = Html(shown + folded(f"The other {len(rows) - _WEAKEST} classes", table(columns, rows[_WEAKEST:])))
    return shown


def render_data(summary: dict[str, Any], by_class: pd.DataFrame, left_out: pd.DataFrame) -> Html:
    """Return the number of images by split and class, and the images left out.

    Args:
        summary: content of data/split/summary.json.
        by_class: class, and the images of each split.
        left_out: source, class and reason.
    """
    splits = list(summary["images"])
    rows = list(by_class[["class", *splits]].itertuples(index=False))
    total = [Html(f"<b>{count}</b>") for count in summary["images"].values()]
    images = sum(summary["images"].values())
    duplicates, rejects, corrections = summary["duplicates"], summary["rejects"], summary["corrections"]
    known = duplicates + rejects + corrections["left_out"]
    reasons = (
        (rejects, "that cannot be used"),
        (duplicates, f"duplicate{'s' * (duplicates != 1)}"),
        (corrections["left_out"], "by corrections"),
        (
            len(left_out) - known,
            "because of near duplicates, groups or locked images",
        ),
    )
    sentence = f"{images} images in {len(rows)} classes."
    if len(left_out):
        sentence += f" Left out: {', '.join(f'{count} {why}' for count, why in reasons if count)}."
    if summary["unused"]:
        sentence += f" {summary['unused']} more are in no split, because split.train, val and test ask for fewer."
    if summary["locked"]:
        sentence += (
            f" {summary['locked']} of the test images are locked: they stay test images when the data set grows."
        )
    if any(corrections.values()):
        sentence += (
            f" Corrections of labels: {corrections['relabeled']} relabeled, {corrections['dropped']} dropped, "
            f"{corrections['confirmed']} confirmed."
        )
    parts = [folded("Images by class and split", table(("Class", *splits), [*rows, (Html("<b>All</b>"), *total)]))]
    if len(left_out):
        listed = left_out.head(_LISTED)[["source", "class", "reason"]].itertuples(index=False)
        parts.append(folded("What was left out, and why", table(("File", "Class", "Reason"), listed, words=(0, 1, 2))))
    if len(left_out) > _LISTED:
        parts.append(note(f"The first {_LISTED} of {len(left_out)}; rejects.csv lists all."))
    return section("Data", sentence, *parts)


def render_layers(table_of_layers: pd.DataFrame) -> Html:
    """Return the layers of the backbone, and which are frozen.

    Args:
        table_of_layers: index, name, type, parameters, state.
    """
    frozen = table_of_layers.loc[table_of_layers["state"] == "frozen", "parameters"].sum()
    total = table_of_layers["parameters"].sum()
    sentence = f"{frozen:,} of the backbone's {total:,} parameters were frozen throughout."
    if table_of_layers["state"].eq("frozen").all():
        sentence = f"The backbone's {total:,} parameters were frozen: only the head was trained."
    rows = [
        (row["index"], row["name"], row["type"], f"{row['parameters']:,}", chip(row["state"], row["state"]))
        for _, row in table_of_layers.iterrows()
    ]
    columns = ("", "Layer", "Type", "Parameters", "State")
    parts = [table(columns, rows, words=(1, 2, 4))]
    if (table_of_layers["state"] == "inference").any():
        parts.append(
            note("inference: a BatchNormalization layer among thawed layers that keeps its weights and statistics.")
        )
    return section("Network", sentence, folded(f"All {len(rows)} layers", *parts))
