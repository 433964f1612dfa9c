"""Write a figure as a PNG file: the same figure gives the same bytes."""

import warnings
from pathlib import Path

from matplotlib.figure import Figure


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write ``figure`` to ``path``, without the version of the program that drew it."""
    with warnings.catch_warnings():
        # Matplotlib's own fonts lack, say, Chinese: the picture then shows boxes; the page shows the names.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(path, dpi=dpi, metadata={"Software": None})
