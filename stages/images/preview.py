"""Store the augmented views of a few training images, for the report."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from stages.base.arrays import open_arrays
from stages.base.files import refuse_damaged


@dataclass(frozen=True)
class PreviewImage:
    """A training image.

    Attributes:
        source: its path in the data set.
        class_name: its class.
        shares: for each view its classes with their shares, the largest first.
    """

    source: str
    class_name: str
    shares: list[list[tuple[str, float]]]


def write_preview(
    path: Path, views: Sequence[tuple[np.ndarray, np.ndarray]], sources: Sequence[str], classes: Sequence[str]
) -> None:
    """Write the views of images to one ``.npz`` file; without images if each has one view, the image itself.

    Args:
        path: the file to write.
        views: pixels, uint8 (side, side, channels), and the share of each class in them, (classes,): all views of the
            first image, then the same number of the second, and so on.
        sources: the path of each image.
        classes: the names of all classes.
    """
    count = len(views) // len(sources)
    images = []
    for place, source in enumerate(sources if count > 1 else []):
        shares = [_named(target, classes) for _, target in views[place * count : (place + 1) * count]]
        images.append(PreviewImage(source, shares[0][0][0], shares))
    pixels = np.stack([pixels for pixels, _ in views]).reshape(len(sources), count, *views[0][0].shape)
    text = json.dumps([asdict(image) for image in images], ensure_ascii=False)
    # Not compressed, so that the bytes do not depend on the version of zlib.
    np.savez(path, pixels=pixels[: len(images)], captions=np.array(text))


def _named(target: np.ndarray, classes: Sequence[str]) -> list[tuple[str, float]]:
    shares = [(classes[place], float(target[place])) for place in np.flatnonzero(target).tolist()]
    return sorted(shares, key=lambda share: -share[1])


def are_augmented(pixels: np.ndarray) -> bool:
    """Return whether any view differs from its image.

    Args:
        pixels: uint8 (images, views, side, side, channels), the image itself first.
    """
    return bool((pixels != pixels[:, :1]).any())


def read_preview(path: Path) -> tuple[np.ndarray, list[PreviewImage]]:
    """Read a file of ``write_preview``: uint8 (images, views, side, side, channels), and the images' descriptions."""
    with refuse_damaged(path, "views of images"), open_arrays(path) as arrays:
        return arrays["pixels"], [PreviewImage(**image) for image in json.loads(str(arrays["captions"]))]
