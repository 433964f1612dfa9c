"""Show the candidates of a sweep: validation accuracies and learning curves as a picture, all numbers as a table."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from stages.base.table import format_table
from stages.draw.numbers import MINUS, format_percent, format_points, name_interval
from stages.draw.overlaid_curves import COLORS, draw_phases
from stages.draw.style import INK, save, style_axes
from stages.measure.model_selection import describe_choice


def draw_sweep(results: pd.DataFrame, histories: Mapping[str, pd.DataFrame], confidence: float, path: Path) -> None:
    """Draw validation accuracy and learning curves of all candidates.

    Args:
        results: as ``format_results`` takes them.
        histories: by name, as ``stages.training.history.join`` returns them.
        confidence: of the intervals, such as 0.95.
        path: PNG file to write.
    """
    figure = Figure(figsize=(8.4, 4.6 + 0.42 * len(results)), layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=(0.42 * len(results) + 0.6, 4))
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(results)))
    colors = dict(zip(results["name"], COLORS if len(results) <= len(COLORS) else shades, strict=False))
    style_axes(top, grid="x")
    style_axes(bottom)
    _bars(top, results, [colors[name] for name in results["name"]], name_interval(confidence))
    for name, history in histories.items():
        for column, style in (("loss", "--"), ("val_loss", "-")):
            draw_phases(bottom, history, column, style, colors[name], 1.6)
    bottom.set_yscale("log")
    bottom.set_xlabel("epoch", color=INK, fontsize=12)
    bottom.set_ylabel("loss", color=INK, fontsize=12)
    styles = [Line2D([], [], color=INK, linestyle=style) for style in ("-", "--")]
    bottom.legend(styles, ["validation", "training"], frameon=False, fontsize=10.5)
    save(figure, path, dpi=160)


def _bars(axes: Axes, results: pd.DataFrame, colors: list[str], interval: str) -> None:
    places, accuracy = np.arange(len(results)), results["accuracy"]
    reach = np.stack([accuracy - results["accuracy_low"], results["accuracy_high"] - accuracy])
    axes.barh(places, accuracy, xerr=reach, color=colors, height=0.62, error_kw={"ecolor": INK, "capsize": 4})
    for place, row in enumerate(results.to_dict("records")):
        said = f"{format_percent(row['accuracy'])} % ({_interval(row, 'accuracy')})"
        axes.annotate(
            said, (row["accuracy_high"], place), (6, 0), textcoords="offset points", va="center", color=INK, fontsize=10
        )
    axes.set_yticks(places, results["name"], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3)  # room for the numbers
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.set_xlabel(f"validation accuracy with its {interval}", color=INK, fontsize=12)


def format_results(results: pd.DataFrame, images: int, confidence: float) -> Iterator[str]:
    """Yield a table of the candidates, the lowest validation log loss first, and lines on what it can tell.

    Args:
        results: one row per candidate, columns name, frozen and layers (counts), log_loss, accuracy (with *_low and
            *_high, as below), parameters, trained (parameters), megabytes, seconds (NaN where nothing
            was trained), behind (accuracy of the best minus its own, with its paired interval). On skewed classes also
            balanced_accuracy; beside a candidate from scratch gain (in accuracy over it; NaN for itself); if the test
            split is to be shown test_accuracy, and with both test_gain.
        images: validation images.
        confidence: of the intervals.
    """
    level = name_interval(confidence)
    header = ["", "frozen", "val log loss", "val accuracy", level]
    header += ["balanced"] * ("balanced_accuracy" in results) + ["over scratch"] * ("gain" in results)
    header += ["parameters", "trained", "MB", "seconds"]
    header += ["test accuracy", level] * ("test_accuracy" in results) + ["over scratch"] * ("test_gain" in results)
    ranked = results.sort_values("log_loss", kind="stable").to_dict("records")
    rows: list[list[str]] = [header]
    for row in ranked:
        cells = [row["name"], f"{row['frozen']} of {row['layers']}", f"{row['log_loss']:.4f}"]
        cells += [f"{format_percent(row['accuracy'])} %", _interval(row, "accuracy")]
        cells += [f"{format_percent(row['balanced_accuracy'])} %"] if "balanced_accuracy" in row else []
        cells += [_gain(row, "gain")] if "gain" in row else []
        cells += [f"{row['parameters']:,}", f"{row['trained']:,}", f"{row['megabytes']:.1f}"]
        cells += ["cached" if np.isnan(row["seconds"]) else f"{row['seconds']:.0f}"]
        cells += (
            [f"{format_percent(row['test_accuracy'])} %", _interval(row, "test_accuracy")]
            if "test_accuracy" in row
            else []
        )
        cells += [_gain(row, "test_gain")] if "test_gain" in row else []
        rows.append(cells)
    yield from format_table(rows, right=range(1, len(header)))
    yield f"{ranked[0]['name']}: {describe_choice(len(ranked), images, confidence)}"
    close = [row["name"] for row in ranked[1:] if row["behind_low"] <= 0 <= row["behind_high"]]
    if close:
        yield f"not to be told from it by accuracy, by the paired interval: {', '.join(close)}"


def _interval(row: Mapping[Any, float], name: str) -> str:
    return f"{format_percent(row[f'{name}_low'])} to {format_percent(row[f'{name}_high'])}"


def _gain(row: Mapping[Any, float], name: str) -> str:
    gain, low, high = (format_points(row[f"{name}{end}"]).replace(MINUS, "-") for end in ("", "_low", "_high"))
    return "-" if np.isnan(row[name]) else f"{gain} ({low} to {high})"
