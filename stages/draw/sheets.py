"""Draw contact sheets: small captioned pictures in rows, in groups with a heading."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from stages.draw.style import measure_width, save, shorten

INK, FAINT, LINE = "#222222", "#6B6B6B", "#CCCCCC"
# Bluish green and vermilion, told apart with any kind of color vision; a tick or a cross says the same without color.
RIGHT, WRONG = "#00796B", "#D0410A"

# In widths of a tile: a line of text, the gap between tiles, a heading, and the network's view beside the picture.
_LINE, _GAP, _HEADING, _SEEN = 0.155, 0.10, 0.36, 0.34
_INCHES = 1.3  # width of a tile


@dataclass(frozen=True)
class Tile:
    """A small picture with its caption.

    Attributes:
        picture: a PNG or JPEG file.
        title: its class, or the predicted one.
        source: its file, in small type.
        right: whether the prediction is correct; None without a prediction.
        confidence: of the prediction, as text.
        second: a second line: the actual class of a mistake, or what else is in a mixed view.
        seen: what the network sees, as a PNG file, if that looks different; or another small picture beside it.
        seen_as: what that picture is, for those who cannot see it.
        row: a line to copy, which a page shows instead of the file.
    """

    picture: bytes
    title: str
    source: str
    right: bool | None = None
    confidence: str = ""
    second: str = ""
    seen: bytes | None = None
    seen_as: str = "as the network sees it"
    row: str = ""

    @property
    def mark(self) -> str:
        """A tick, a cross, or nothing."""
        return {True: "✓ ", False: "✗ ", None: ""}[self.right]


@dataclass(frozen=True)
class Group:
    """Tiles under one heading."""

    heading: str
    tiles: Sequence[Tile]


def draw_sheet(groups: Sequence[Group], columns: int, path: Path) -> None:
    """Draw a contact sheet.

    Args:
        groups: of tiles, one below the other.
        columns: tiles in a row.
        path: PNG file to write.
    """
    heights = [_HEADING + ceil(len(group.tiles) / columns) * _step(group) for group in groups]
    width, height = columns * (1 + _GAP) + _GAP, sum(heights) + _GAP
    figure = Figure(figsize=(_INCHES * width, _INCHES * height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-_GAP, width - _GAP), ylim=(height, 0))
    axes.axis("off")
    top = 0.0
    for group, group_height in zip(groups, heights, strict=True):
        axes.text(0, top + 0.24, group.heading, fontsize=12, fontweight="bold", color=INK, parse_math=False)
        for number, tile in enumerate(group.tiles):
            row, column = divmod(number, columns)
            _draw_tile(axes, tile, column * (1 + _GAP), top + _HEADING + row * _step(group), _tall(group))
        top += group_height
    save(figure, path, dpi=120)


def _tall(group: Group) -> float:
    """Height of a group's pictures: less if each has another beside it."""
    return 0.75 if any(tile.seen for tile in group.tiles) else 1.0


def _step(group: Group) -> float:
    """Height of a row of tiles."""
    lines = 1 + any(tile.second for tile in group.tiles) + any(tile.source for tile in group.tiles)
    return _tall(group) + lines * _LINE + 1.5 * _GAP


def _draw_tile(axes: Axes, tile: Tile, left: float, top: float, tall: float) -> None:
    color = {True: RIGHT, False: WRONG, None: LINE}[tile.right]
    wide = 1 - _SEEN - 0.03 if tile.seen else 1.0
    _draw_picture(axes, tile.picture, (left, top, wide, tall), color, 0.8 if tile.right is None else 2.6)
    if tile.seen:
        _draw_picture(axes, tile.seen, (left + 1 - _SEEN, top, _SEEN, tall), LINE, 0.8)
    sure = f" · {tile.confidence}" if tile.confidence else ""
    title = tile.mark + shorten(tile.title, 20 - len(tile.mark + sure)) + sure
    lines = [
        (title, min(9.5, 145 / measure_width(title)), INK if tile.right is None else color, "bold"),
        (shorten(tile.second, 20), 8.5, INK, "normal"),
        (_start_cut(tile.source, 24), 6.5, FAINT, "normal"),
    ]
    baseline = top + tall
    for words, size, shade, weight in lines:
        if words:
            baseline += _LINE
            text = axes.text(left + 0.5, baseline, words, fontsize=size, color=shade, fontweight=weight, ha="center")
            text.set_parse_math(False)


def _draw_picture(axes: Axes, picture: bytes, box: tuple[float, float, float, float], color: str, thick: float) -> None:
    """Draw a framed picture as large as its box (left, top, width, height) allows, at the bottom center."""
    left, top, wide, tall = box
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    scale = min(wide / image.width, tall / image.height)
    width, height = image.width * scale, image.height * scale
    x, y = left + (wide - width) / 2, top + tall - height
    axes.imshow(image, extent=(x, x + width, y + height, y), aspect="auto", interpolation="antialiased")
    axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=color, linewidth=thick))


def _start_cut(text: str, letters: int) -> str:
    """Shorten a path from its start, which says less than its end."""
    return text if len(text) <= letters else "…" + text[1 - letters :]
