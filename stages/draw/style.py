"""Shared by all figures: colors, fonts, axis style, and reproducible PNG files."""

import logging
import warnings
from pathlib import Path
from typing import Literal
from unicodedata import east_asian_width

import matplotlib
import notojp_matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.text import Text

from stages.base.terminal import say

INK, GRID = "#333333", "#E4E4E4"
# Okabe and Ito's blue and vermilion: told apart with any kind of color vision, and in gray print by their lightness.
BLUE, VERMILION = "#0072B2", "#D55E00"

# Noto Sans CJK has the Chinese, Japanese and Korean letters that DejaVu lacks. Both come with pinned packages; fonts
# that happen to be installed would make the bytes of a picture differ between machines.
_FONTS = ["DejaVu Sans", notojp_matplotlib.FAMILY]
_PACKAGES = (matplotlib.get_data_path(), str(Path(notojp_matplotlib.__file__).parent))
fontManager.ttflist = [font for font in fontManager.ttflist if font.fname.startswith(_PACKAGES)]
matplotlib.rcParams["font.family"] = _FONTS
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it says that Noto Sans CJK is not bold
_LISTED = 10  # missing letters in a message


def measure_width(text: str) -> int:
    """Return how wide a text is, in Latin letters: a Chinese character takes two."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def shorten(text: str, width: int) -> str:
    """Return a text without its end if it is wider than ``width`` Latin letters."""
    if measure_width(text) <= width:
        return text
    while measure_width(text) >= width:
        text = text[:-1]
    return f"{text}…"


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
    if missing := find_missing_letters(figure):
        more = " …" if len(missing) > _LISTED else ""
        say(f"{path.name}: no font for {' '.join(missing[:_LISTED])}{more}; the picture shows boxes for them")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(path, dpi=dpi, metadata={"Software": None})


def find_missing_letters(figure: Figure) -> list[str]:
    """Return the letters of a figure's texts that the fonts lack."""
    fonts = [get_font(findfont(name)) for name in _FONTS]
    letters = {letter for text in figure.findobj(Text) for letter in text.get_text() if not letter.isspace()}
    return sorted(letter for letter in letters if not any(font.get_char_index(ord(letter)) for font in fonts))
