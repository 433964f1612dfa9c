"""Show a sweep over freeze depths as a picture and as a table: accuracy and time by depth."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from stages.base.table import format_table
from stages.draw.style import BLUE, INK, VERMILION, save, style_axes
from stages.transfer.activations import Description

TUNED, HEAD, TIME = BLUE, VERMILION, "#999999"


def draw_sweep(results: pd.DataFrame, shared: float, confidence: float, path: Path) -> None:
    """Draw accuracy and seconds by depth.

    Args:
        results: one row per depth, columns freeze (as of ``extract.freeze``), frozen (layers), accuracy, head_accuracy
            (shares, with their intervals in *_low and *_high; NaN if the head was never trained) and seconds (NaN where
            nothing was trained).
        shared: seconds that all depths share.
        confidence: of the intervals, such as 0.95.
        path: PNG file to write.
    """
    figure = Figure(figsize=(max(6.4, 2.2 + 0.85 * len(results)), 6.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    places = np.arange(len(results))
    for axes in (top, bottom):
        style_axes(axes, grid="y")
    _accuracies(top, results, places, f"{100 * confidence:.4g} % interval")
    bottom.bar(places, results["seconds"], width=0.6, color=TIME)
    for place, seconds in zip(places, results["seconds"], strict=True):
        said = "cached" if np.isnan(seconds) else f"{seconds:.0f} s"
        bottom.annotate(
            said, (place, 0 if np.isnan(seconds) else seconds), (0, 2), textcoords="offset points",
            ha="center", va="bottom", color=INK, fontsize=10,
        )  # fmt: skip
    bottom.margins(y=0.18)
    bottom.set_ylabel("seconds", color=INK, fontsize=12)
    bottom.set_title(f"plus {shared:.0f} s shared by all depths", loc="right", fontsize=10.5, color=INK)
    names = [f"{row.freeze}\n{row.frozen} frozen" for row in results.itertuples()]
    bottom.set_xticks(places, names, fontsize=10, parse_math=False)
    if max(len(line) for name in names for line in name.split("\n")) > 11:
        bottom.tick_params(axis="x", labelrotation=30)
    bottom.set_xlim(-0.6, len(results) - 0.4)
    bottom.set_xlabel("extract.freeze: more is thawed from left to right", color=INK, fontsize=12)
    figure.align_ylabels()
    handles, labels = top.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=11)
    save(figure, path, dpi=160)


def _accuracies(axes: Axes, results: pd.DataFrame, places: np.ndarray, interval: str) -> None:
    head = results.iloc[0]
    if not np.isnan(head["head_accuracy"]):
        axes.axhspan(head["head_accuracy_low"], head["head_accuracy_high"], color=HEAD, alpha=0.1, linewidth=0)
        axes.axhline(head["head_accuracy"], color=HEAD, linewidth=1.5, linestyle=(0, (4, 3)), label="head only")
    accuracy = results["accuracy"]
    reach = np.stack([accuracy - results["accuracy_low"], results["accuracy_high"] - accuracy])
    axes.errorbar(
        places, accuracy, reach, fmt="o", color=TUNED, linewidth=2, markersize=7, capsize=4,
        label=f"fine-tuned, {interval}",
    )  # fmt: skip
    axes.plot(places, accuracy, color=TUNED, linewidth=1, alpha=0.5)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.set_ylabel("test accuracy", color=INK, fontsize=12)


def make_row(
    freeze: int | str, frozen: int, description: Description, layers: pd.DataFrame, scores: dict[str, Any]
) -> dict[str, Any]:
    """Return the columns of one depth, except its seconds.

    Args:
        freeze: the depth.
        frozen: how many layers it freezes.
        description: of the stored activations.
        layers: the table that finetune wrote.
        scores: content of scores.json.
    """
    depth = next(depth for depth in description.depths if depth.frozen == frozen)
    accuracies = {
        f"{prefix}{end}": scores.get(model, {}).get(f"accuracy{end}", np.nan)
        for model, prefix in (("finetuned", "accuracy"), ("head", "head_accuracy"), ("gain", "gain"))
        for end in ("", "_low", "_high")
    }
    return {
        "freeze": freeze,
        "frozen": frozen,
        "stored": description.trains_from(depth),
        "parameters": int(layers.loc[layers["state"] == "thawed", "parameters"].sum()),
        **accuracies,
    }


def format_results(results: pd.DataFrame, shared: float, total: float, confidence: float) -> Iterator[str]:
    """Yield the lines of a table.

    Args:
        results: as ``draw_sweep`` takes them, with the columns stored (the layer whose output is stored), parameters
            (of thawed layers), and gain (in accuracy over the head-only model) with gain_low and gain_high; NaN where
            there are no two models to compare.
        shared: seconds that all depths share.
        total: seconds of the whole sweep.
        confidence: of the intervals.
    """
    level = f"{100 * confidence:.4g} % interval"
    rows = [("freeze", "frozen", "stored at", "thawed parameters", "accuracy", level, "over head only", "seconds")]
    for row in results.to_dict("records"):
        gain, low, high = (100 * row[name] for name in ("gain", "gain_low", "gain_high"))
        seconds = "cached" if np.isnan(row["seconds"]) else f"{row['seconds']:.0f}"
        rows.append(
            (
                *(row["freeze"], row["frozen"], row["stored"], f"{row['parameters']:,}"),
                f"{100 * row['accuracy']:.1f} %",
                f"{100 * row['accuracy_low']:.1f} to {100 * row['accuracy_high']:.1f}",
                "-" if np.isnan(gain) else f"{gain:+.1f} ({low:+.1f} to {high:+.1f})",
                seconds,
            )
        )
    yield from format_table(rows, right=(1, *range(3, len(rows[0]))))
    trained = results["seconds"].sum()
    yield f"{shared:.0f} s for the frozen passes, shared by all; {trained:.0f} s after them; {total:.0f} s in total"
