"""Examples of an exported model: drawn pictures, the pixels that they become, and their probabilities.

They show whether a program in another language decodes, resizes and predicts as this project does. They are drawn,
because a model is passed on to people who may not be allowed to see the images that it learned from.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from stages.base.files import write_json
from stages.images.bit_depth import FULL
from stages.images.contract import Contract
from stages.images.load import load

_TURNED = 6  # EXIF orientation: to be turned by 90 degrees clockwise
_ORIENTATION = 274  # its tag
_DECIMALS = 4  # of probabilities: the others depend on the processor
_LEAST = 32  # pixels: on a smaller side no handwriting would be found
_STROKE = (0.25, 0.15), (0.7, 0.3), (0.45, 0.85), (0.4, 0.55)  # corners of a stroke, as shares of width and height


def write_examples(folder: Path, contract: Contract, predict: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write pictures, their pixels as PNG, and ``examples.json`` into a new folder.

    Args:
        folder: to make.
        contract: of the model.
        predict: the model, from pixels (n, size, size, channels) to probabilities (n, classes).
    """
    folder.mkdir()
    content: list[dict[str, Any]] = []
    for name, shows, image, options in draw_examples(contract):
        image.save(folder / name, **options)
        pixels = load((folder / name).read_bytes(), contract)
        Image.fromarray(pixels.squeeze()).save(folder / f"{Path(name).stem}.pixels.png")
        probabilities = predict(pixels[None])[0]
        content.append(
            {
                "file": name,
                "shows": shows,
                "pixels": f"{Path(name).stem}.pixels.png",
                "pixels_sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
                "probabilities": [round(float(value), _DECIMALS) for value in probabilities],
            }
        )
    write_json(folder / "examples.json", content)


def draw_examples(contract: Contract) -> Iterator[tuple[str, str, Image.Image, dict[str, Any]]]:
    """Yield for each picture its file name, what it shows, and the picture with the options to save it with.

    Args:
        contract: of the model.
    """
    side = max(contract.size, _LEAST)
    large = _draw(5 * side, 4 * side, contract)  # so large that the JPEG file is decoded at half its size
    yield "color.png", "color, and a picture that is not square", large.resize((3 * side + 1, 2 * side + 1)), {}
    exif = Image.Exif()
    exif[_ORIENTATION] = _TURNED
    yield "turned.jpg", "a JPEG file that its EXIF orientation turns", large, {"exif": exif, "quality": 90}
    clear = large.resize((2 * side, 2 * side)).convert("RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, side // 4, side // 4))
    yield "transparent.png", "a transparent corner", clear, {}
    low, high = contract.range or FULL
    values = np.linspace(max(low, 0), min(high, FULL[1]), 256)[np.asarray(large.convert("L"))]
    yield "deep.png", "gray values of 16 bits", Image.fromarray(np.rint(values).astype(np.uint16)), {}


def _draw(width: int, height: int, contract: Contract) -> Image.Image:
    """Draw a stroke on shaded paper, which every form can read: dark on light, or the contrary."""
    down, right = np.mgrid[:height, :width] / max(width, height)
    shade = np.stack([0.7 + 0.3 * right, 0.95 - 0.2 * down, 0.9 - 0.3 * right * down], axis=-1)
    image = Image.fromarray(np.rint(255 * shade).astype(np.uint8))
    corners = [(x * width, y * height) for x, y in _STROKE]
    ImageDraw.Draw(image).line(corners, fill=(30, 20, 90), width=max(1, width // 20), joint="curve")
    dark = contract.polarity == "dark_on_light" or contract.form == "photo"
    return image if dark else Image.fromarray(255 - np.asarray(image))
