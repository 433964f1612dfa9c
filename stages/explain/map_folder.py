"""A folder of pictures of which parts of each image support its predicted class."""

from collections import Counter
from pathlib import Path

import numpy as np

from stages.explain.explainer import Explainer
from stages.explain.overlay import draw_evidence, frame
from stages.images.contract import Contract
from stages.images.thumbnail import encode

_SIDE = 512  # of a picture, at most


class MapFolder:
    """Writes NAME_explained.jpg for images; a second image of the same name gets a number.

    Args:
        folder: to write into.
        explainer: of the model.
        contract: how an image file becomes pixels.
    """

    def __init__(self, folder: Path, explainer: Explainer, contract: Contract) -> None:
        self._folder, self._explainer, self._contract = folder, explainer, contract
        self._names: Counter[str] = Counter()

    def write(self, name: str, data: bytes, pixels: np.ndarray, label: int) -> None:
        """Write the picture of an image.

        Args:
            name: of the image.
            data: the bytes of its file.
            pixels: what the network sees of it, uint8 (side, side, channels).
            label: of the predicted class.
        """
        (picture,) = draw_evidence(
            frame(data, self._contract, _SIDE), self._explainer.locate(pixels, np.array([label]))
        )
        self._names[name] += 1
        number = f"_{self._names[name]}" if self._names[name] > 1 else ""
        (self._folder / f"{name}{number}_explained.jpg").write_bytes(encode(picture))

    def describe(self) -> str:
        """Return a line on what was written."""
        pictures = self._names.total()
        return f"wrote {pictures} {self._explainer.method} map{'s' * (pictures > 1)} into {self._folder}"
