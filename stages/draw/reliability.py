"""Draw a reliability diagram: whether a model is as often right as it is confident."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from stages.draw.numbers import name_interval
from stages.draw.style import BLUE, INK, VERMILION, save, style_axes


def draw_reliability(bins: pd.DataFrame, confidence: float, path: Path) -> None:
    """Draw accuracy against confidence (DeGroot and Fienberg, The Statistician 32, 1983).

    Args:
        bins: as ``stages.measure.metrics.measure_reliability`` returns them; of a calibrated model also those without
            its temperature, where the column "calibrated" is 0.
        confidence: of the intervals.
        path: PNG file to write.
    """
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.subplots()
    style_axes(axes)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label="accuracy equals confidence")
    everything, largest = bins, bins["images"].max()
    if "calibrated" in bins:
        before, bins = bins[bins["calibrated"] == 0], bins[bins["calibrated"] == 1]
        axes.scatter(
            before["confidence"], before["accuracy"], 20 + 180 * before["images"] / largest,
            facecolors="none", edgecolors=VERMILION, linewidths=1.6, zorder=4, label="uncalibrated",
        )  # fmt: skip
    reach = [bins["accuracy"] - bins["accuracy_low"], bins["accuracy_high"] - bins["accuracy"]]
    axes.errorbar(
        bins["confidence"], bins["accuracy"], reach, fmt="none", ecolor=BLUE, elinewidth=1.5, alpha=0.6,
        label=name_interval(confidence),
    )  # fmt: skip
    sizes = 20 + 180 * bins["images"] / largest
    axes.scatter(bins["confidence"], bins["accuracy"], sizes, color=BLUE, zorder=3, label="bin; area: images")
    lowest = min(everything["confidence"].min(), everything["accuracy"].min())
    axes.set_xlim(max(0.0, lowest - 0.05), 1.02)
    axes.set_ylim(max(0.0, lowest - 0.05), 1.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.set_xlabel("mean confidence", color=INK, fontsize=12)
    axes.set_ylabel("accuracy", color=INK, fontsize=12)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9.5)
    save(figure, path, dpi=160)
