"""Write a figure as a PNG file, with the same bytes every time."""

import warnings
from pathlib import Path

from matplotlib.figure import Figure


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a figure, without Matplotlib's version in it.

    Args:
        figure: to write.
        path: PNG file.
        dpi: dots per inch.
    """
    with warnings.catch_warnings():
        # Matplotlib's fonts lack Chinese, for example: the picture then shows boxes, the page the names.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(path, dpi=dpi, metadata={"Software": None})
