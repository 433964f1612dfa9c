"""Draw the learning curves of several trainings over each other."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from stages.draw.curves import scale_losses
from stages.draw.style import BLUE, INK, VERMILION, save, style_axes

# Okabe and Ito's colors without yellow, which is too light for a line: told apart with any kind of color vision.
COLORS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", INK)


def draw_overlaid(histories: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Draw loss and accuracy on the validation images as lines, those on the training images as thin dashed lines.

    Args:
        histories: by name, up to as many as there are COLORS; each as ``stages.draw.curves.draw_curves`` takes it.
        path: PNG file to write.
    """
    figure = Figure(figsize=(5.6, 6.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    widths = np.linspace(4, 1.6, len(histories))  # where curves are the same, the earlier one frames the later
    for axes, measure in ((top, "loss"), (bottom, "accuracy")):
        axes.set_ylabel(measure, color=INK, fontsize=12)
        style_axes(axes)
        if measure == "loss":
            losses = [history[["loss", "val_loss"]].to_numpy().ravel() for history in histories.values()]
            scale_losses(axes, np.concatenate(losses))
        for color, width, history in zip(COLORS, widths, histories.values(), strict=False):
            _lines(axes, history, measure, color, width)
    bottom.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    bottom.set_xlabel("epoch", color=INK)
    bottom.set_xlim(0.5, max(1, *(len(history) for history in histories.values())) + 0.5)
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))
    figure.align_ylabels()
    shown = [Line2D([], [], color=color, linewidth=2) for color, _ in zip(COLORS, histories, strict=False)]
    kinds = [
        Line2D([], [], color=INK, linewidth=2),
        Line2D([], [], color=INK, linewidth=1, linestyle="--"),
        Line2D([], [], color=INK, linestyle="", marker="o", markersize=9, markerfacecolor="none"),
    ]
    words = [*histories, "validation", "training", "epoch whose weights are used"]
    legend = figure.legend([*shown, *kinds], words, loc="outside lower center", ncols=2, frameon=False, fontsize=10)
    for text in legend.get_texts():
        text.set_parse_math(False)
    save(figure, path, dpi=160)


def draw_phases(axes: Axes, history: pd.DataFrame, column: str, style: str, color: str, width: float) -> None:
    """Draw a curve over all phases.

    Args:
        axes: to draw on.
        history: of a training.
        column: of ``history``.
        style: of the line, as Matplotlib names it.
        color: likewise.
        width: likewise, in points.
    """
    # No line joins the phases: the second starts from the first one's best epoch, not from its last.
    for _, rows in history.groupby("phase", sort=False):
        marker = "." if len(rows) == 1 else ""
        axes.plot(rows["epoch"], rows[column], style, marker=marker, color=color, linewidth=width)


def _lines(axes: Axes, history: pd.DataFrame, measure: str, color: str, width: float) -> None:
    validated = history[f"val_{measure}"].notna().any()
    draw_phases(axes, history, measure, "--", color, width / 2)
    if validated:
        draw_phases(axes, history, f"val_{measure}", "-", color, width)
    kept = history[history["kept"] == 1]
    watched = f"val_{measure}" if validated else measure
    axes.plot(
        kept["epoch"],
        kept[watched],
        "o",
        markersize=4 + 2 * width,
        markerfacecolor="none",
        markeredgecolor=color,
        zorder=5,
    )
