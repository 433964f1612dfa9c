"""Shared by all figures: colors, axis style, and reproducible PNG files."""

import warnings
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, GRID = "#333333", "#E4E4E4"


def style_axes(axes: Axes, grid: Literal["both", "x", "y"] = "both") -> None:
    """Draw a light grid behind the curves, and hide the top and right spines.

    Args:
        axes: to style.
        grid: the axis whose ticks get grid lines.
    """
    axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(colors=INK, labelsize=10.5)


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a figure, without Matplotlib's version in it.

    Args:
        figure: to write.
        path: PNG file.
        dpi: dots per inch.
    """
    with warnings.catch_warnings():
        # Matplotlib's fonts lack Chinese, for example: the figure then shows boxes; the page shows the names.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(path, dpi=dpi, metadata={"Software": None})
