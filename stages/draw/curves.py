"""Draw learning curves: loss and accuracy of both phases over one axis of epochs."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from stages.draw.style import BLUE, INK, VERMILION, save, style_axes

TRAIN, VALIDATION = BLUE, VERMILION
WARM = "#FFF3E2"  # background of the thawed phase
_MANY_EPOCHS = 40  # from here on, a dot at every epoch hides the line
_DECADES = 500  # ratio above which only its powers of ten are labeled
_WIDE = 5  # ratio of losses above which their axis is logarithmic: the smaller loss would look flat


def draw_curves(history: pd.DataFrame, path: Path) -> None:
    """Draw the learning curves.

    Args:
        history: one row per epoch, columns phase ("head" or "thawed"), epoch (counted through both phases), loss,
            accuracy, val_loss, val_accuracy, kept (1 for the epoch of a phase whose weights were kept). The val_*
            columns may be empty.
        path: PNG file to write.
    """
    figure = Figure(figsize=(5.6, 6.2), layout="constrained")  # legible on a phone
    top, bottom = figure.subplots(2, 1, sharex=True)
    for axes, measure in ((top, "loss"), (bottom, "accuracy")):
        _panel(axes, history, measure)
    bottom.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    bottom.set_xlabel("epoch", color=INK)
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))
    _name_phases(top, history)
    figure.align_ylabels()
    handles, labels = top.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=len(handles),
            frameon=False,
            fontsize=10,
            columnspacing=1.2,
        )
    save(figure, path, dpi=160)


def _panel(axes: Axes, history: pd.DataFrame, measure: str) -> None:
    axes.set_ylabel(measure, color=INK, fontsize=12)
    style_axes(axes)
    if history.empty:
        axes.text(0.5, 0.5, "no epoch was trained", transform=axes.transAxes, ha="center", color=INK)
        return
    last = int(history["epoch"].max())
    axes.set_xlim(0.5, last + 0.5)
    thawed = history.loc[history["phase"] == "thawed", "epoch"]
    if len(thawed):
        start = int(thawed.min()) - 0.5
        axes.axvspan(start, last + 0.5, color=WARM, zorder=0, linewidth=0)
        axes.axvline(start, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    watched = f"val_{measure}" if history[f"val_{measure}"].notna().any() else measure
    curves = [(measure, "training", TRAIN), (f"val_{measure}", "validation", VALIDATION)]
    for column, label, color in curves:
        # No line joins the phases: the second starts from the first one's best epoch, not from its last.
        for number, (_, rows) in enumerate(history.groupby("phase", sort=False)):
            if rows[column].notna().any():
                name = label if number == 0 else "_"
                marker = "." if last <= _MANY_EPOCHS or len(rows) == 1 else ""
                axes.plot(rows["epoch"], rows[column], "-", marker=marker, color=color, linewidth=2, label=name)
    if measure == "loss":
        scale_losses(axes, history[["loss", "val_loss"]].to_numpy())
    kept = history[history["kept"] == 1]
    color = VALIDATION if watched.startswith("val_") else TRAIN
    axes.plot(
        kept["epoch"], kept[watched], "o", markersize=10, markerfacecolor="none", markeredgecolor=INK,
        markeredgewidth=1.8, label="epoch whose weights are used", zorder=5, clip_on=False,
    )  # fmt: skip
    for _, row in kept.iterrows():
        axes.axvline(row["epoch"], color=color, linewidth=0.9, alpha=0.5, zorder=1)


def scale_losses(axes: Axes, losses: np.ndarray) -> None:
    """Make the axis of losses logarithmic where the smaller ones would look flat.

    Args:
        axes: whose y-axis shows losses.
        losses: all of them; NaN where there are none.
    """
    losses = losses[losses > 0]
    if len(losses) and losses.max() > _WIDE * losses.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if losses.max() < _DECADES * losses.min() else (1,)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))


def _name_phases(axes: Axes, history: pd.DataFrame) -> None:
    """Name the phases above the outer corners of the panel, where there is room even if a phase has one epoch."""
    phases = set(history["phase"])
    for phase, name, place, side in (
        ("head", "head only", 0.0, "left"),
        ("thawed", "head and thawed layers", 1.0, "right"),
    ):
        if phase in phases:
            axes.text(
                place, 1.02, name, transform=axes.transAxes,
                ha=side, va="bottom", fontsize=11, color=INK, fontweight="bold",
            )  # fmt: skip
