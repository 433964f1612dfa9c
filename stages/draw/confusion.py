"""Draw the confusion matrix: counts in the cells, colored by the share of the actual class."""

from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from stages.draw.style import INK, measure_width, save, shorten

_COUNTED = 30  # classes up to which a cell has room for its count
_RULED = 60  # classes up to which white lines separate the cells
_LONGEST = 18  # letters of a name; the tables show it in full


def draw_confusion(matrix: pd.DataFrame, path: Path) -> None:
    """Draw a confusion matrix.

    Cells are colored by their share of the row, on a square-root scale, so that rare mistakes stay visible beside a
    strong diagonal. The row of a class without test images is gray.

    Args:
        matrix: counts; rows are actual classes, columns predicted ones.
        path: PNG file to write.
    """
    counts = matrix.to_numpy(dtype=float)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    size = len(counts)
    side = min(11.0, max(4.2, 2.4 + 0.42 * size))
    figure = Figure(figsize=(side + 1.0, side), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("#EEEEEE")
    picture = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1), interpolation="nearest")
    cell = 0.75 * side * 72 / size  # width of a cell in points, roughly
    if size <= _COUNTED:
        _write_counts(axes, counts, shares, cell)
    _name_classes(axes, [str(name) for name in matrix.index], cell)
    bar = figure.colorbar(picture, ax=axes, shrink=0.7, pad=0.02, ticks=[0, 0.01, 0.05, 0.1, 0.25, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))
    bar.set_label("share of the actual class", color=INK)
    bar.outline.set_visible(False)
    save(figure, path, dpi=160)


def _write_counts(axes: Axes, counts: np.ndarray, shares: np.ndarray, cell: float) -> None:
    digits = len(f"{counts.max():.0f}")
    fontsize = min(13.0, 0.5 * cell, 1.2 * cell / digits)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.3 else INK
            axes.text(column, row, f"{count:.0f}", ha="center", va="center", fontsize=fontsize, color=color)


def _name_classes(axes: Axes, names: list[str], cell: float) -> None:
    size = len(names)
    step = ceil(8.5 / cell)  # points for a line of the smallest type; else every second, third ... name
    places = range(0, size, step)
    shown = [shorten(names[place], _LONGEST) for place in places]
    fontsize = min(11.5, 0.8 * cell * step)
    upright = max(map(measure_width, shown)) * 0.65 * fontsize > cell * step
    axes.set_xticks(places, shown, rotation=90 if upright else 0, fontsize=fontsize, parse_math=False)
    axes.set_yticks(places, shown, fontsize=fontsize, parse_math=False)
    axes.set_xlabel("predicted", color=INK, fontsize=12)
    axes.set_ylabel("actual", color=INK, fontsize=12)
    if size <= _RULED:
        axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=0.8)
    axes.tick_params(which="both", length=0, colors=INK)
    axes.spines[:].set_visible(False)
