"""Convert an image of handwriting, such as a photograph of ink on paper, to MNIST's form.

The form is that of LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition (1998),
section III.A: light strokes on black, with their proportions in a box of 20 of 28 pixels, centered by the center of
mass. For photographs, the steps before are: remove printed lines, divide by the paper's light, separate ink with Otsu's
threshold (1979), drop specks, and thicken strokes that are thinner than MNIST's. An image that already has this form,
such as MNIST's own, hardly changes.
"""

import numpy as np
from PIL import Image
from scipy import ndimage

from stages.images.decode import BadImage
from stages.images.resample import shrink
from stages.images.ruling import remove_ruling

BOX = 20 / 28  # side of the box the ink fills, as a share of the image's side
CENTER = 14.5 / 28  # where the center of mass lies: in MNIST in the middle of pixel 14, not between 13 and 14
STROKE = 2.5 / 20  # thinnest stroke, as a share of the ink's longer side; MNIST's are 2 to 4 of 20 pixels wide
WORK = 320  # longest side, in pixels, at which ink is detected
PAPER = 96  # longest side at which paper is estimated
WINDOW = 3  # strokes are narrower than 1 / WINDOW of the longest side; anything wider is paper
CONTRAST = 0.1  # minimum share of the paper's light that ink absorbs; a pencil absorbs 0.2 to 0.5
SEPARATION = 4  # minimum difference between ink and paper, in standard deviations of the paper
FAINT = 0.2  # share of the threshold down to which a soft edge belongs to its stroke
SMALLEST = 0.03  # minimum length of ink, as a share of the longest side
SPECK = 0.05  # parts with less ink than this share of the main part are specks
MNIST = 28  # side of MNIST's images, at which patches and strokes are distinguished
FILLED = 0.85  # share of its box above which ink is a dark patch; MNIST's digits reach 0.75
UPRIGHT = 0.5  # ratio of the box's sides up to which strokes may fill it, like a 1
WHOLE = 0.1  # parts cut by the image's edge (a pen) are ignored beside a complete part with this share of their ink

UNTOLD = "no handwriting found"

_EIGHT = np.ones((3, 3), dtype=bool)  # neighbors, including diagonal ones


def normalize_ink(gray: np.ndarray, side: int, dark_on_light: bool) -> np.ndarray:
    """Find the handwriting in an image and convert it to MNIST's form.

    Args:
        gray: uint8 pixels of shape (height, width).
        side: side of the result, in pixels.
        dark_on_light: True for ink on paper, False for light strokes on a dark background.

    Returns:
        uint8 pixels of shape (side, side): strokes up to 255 on 0.

    Raises:
        BadImage: no handwriting found.
    """
    return _center(find_handwriting(gray, dark_on_light), side)


def find_handwriting(gray: np.ndarray, dark_on_light: bool) -> np.ndarray:
    """Find the handwriting in an image.

    Args:
        gray: uint8 pixels of shape (height, width).
        dark_on_light: True for ink on paper, False for light strokes on a dark background.

    Returns:
        float32 strokes up to 1 on 0, as thick as MNIST's, at most about ``WORK`` pixels a side.

    Raises:
        BadImage: no handwriting found: there is none, or only a filled patch.
    """
    image = shrink(remove_ruling(Image.fromarray(gray if dark_on_light else 255 - gray)), WORK)
    darkness = _measure_darkness(image)
    written = _find_ink(darkness)
    if not written.any():
        raise BadImage(UNTOLD)
    rows, columns = np.flatnonzero(written.any(axis=1)), np.flatnonzero(written.any(axis=0))
    around = slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2)
    darkness, written = darkness[around], written[around]
    full = np.median(darkness[written])
    soft = ndimage.binary_dilation(written, _EIGHT) & (darkness > FAINT * darkness[written].min())
    strokes = np.where(soft | written, np.minimum(darkness / full, 1), 0).astype(np.float32)
    strokes = _thicken(strokes, written)
    if _is_patch(_center(strokes, MNIST) > 127):
        raise BadImage(UNTOLD)
    return strokes


def _is_patch(written: np.ndarray) -> bool:
    """Return whether ink fills its bounding box, which strokes do only as a single vertical or horizontal line."""
    rows, columns = np.nonzero(written)
    high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    return bool(min(high, wide) > UPRIGHT * max(high, wide) and len(rows) > FILLED * high * wide)


def _measure_darkness(image: Image.Image) -> np.ndarray:
    """Return the share of the paper's light that is missing at each pixel, 0 to 1.

    A gray closing estimates the paper: it fills strokes, which are narrower than its window, with the light around
    them, and preserves a shadow or a table at the image's edge. The erosion takes the darkest value of each
    neighborhood, so that the border of a shadow, which is only known roughly, does not look like ink.
    """
    light = np.asarray(shrink(image, PAPER), dtype=np.float32)
    window = max(light.shape) // WINDOW + 1
    paper = ndimage.grey_closing(np.pad(light, window, mode="edge"), size=(window, window))
    paper = ndimage.grey_erosion(paper, size=(3, 3))[window:-window, window:-window]
    paper = np.asarray(Image.fromarray(paper).resize(image.size, Image.Resampling.BILINEAR))
    darkness: np.ndarray = np.clip(1 - (np.asarray(image, dtype=np.float32) + 1) / (paper + 1), 0, 1)
    return darkness


def _find_ink(darkness: np.ndarray) -> np.ndarray:
    """Return which pixels are ink: above Otsu's threshold, and part of something large enough; none on blank paper.

    If there is little ink, Otsu's threshold may split the paper's noise, so ``CONTRAST`` is its minimum.
    """
    mask = darkness > max(_otsu(darkness), CONTRAST)
    if not mask.any() or mask.all():
        return np.zeros_like(mask)
    paper = darkness[~mask]
    if darkness[mask].mean() - paper.mean() < SEPARATION * paper.std():
        return np.zeros_like(mask)
    parts, _ = ndimage.label(mask, _EIGHT)
    weight = np.bincount(parts.ravel(), darkness.ravel())
    cut = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    weight[0] = 0
    whole = weight.copy()
    whole[cut] = 0
    if whole.max() > WHOLE * weight.max():
        weight = whole
    if _measure_length(parts == weight.argmax()) < SMALLEST * max(mask.shape):
        return np.zeros_like(mask)
    written: np.ndarray = (weight >= SPECK * weight.max())[parts] & mask
    return written


def _measure_length(mask: np.ndarray) -> int:
    """Return the longer side of a mask's bounding box, in pixels."""
    return int(max(np.ptp(places) for places in np.nonzero(mask))) + 1


def _otsu(values: np.ndarray) -> float:
    """Return Otsu's threshold of values between 0 and 1: it maximizes the variance between the two classes."""
    counts = np.bincount((values * 255).astype(np.uint8).ravel(), minlength=256)
    sums = np.cumsum(counts * np.arange(256))
    below = np.cumsum(counts)
    above = values.size - below
    apart = sums / np.maximum(below, 1) - (sums[-1] - sums) / np.maximum(above, 1)
    return float(np.argmax(below * above * apart**2) + 1) / 255


def _thicken(strokes: np.ndarray, written: np.ndarray) -> np.ndarray:
    """Thicken strokes that are thinner than MNIST's, by whole pixels on either side and with soft edges.

    Whole pixels, because the width of a stroke of two or three pixels is not known more precisely. MNIST's own strokes
    thus stay unchanged.
    """
    inside = ndimage.distance_transform_edt(np.pad(written, 1))
    middle = (inside > 0) & (inside == ndimage.maximum_filter(inside, 3))
    width = 2 * inside[middle].mean() - 0.5  # the middle line is half the width away from the paper
    missing = round((STROKE * _measure_length(written) - width) / 2)
    if missing <= 0:
        return strokes
    strokes, written = np.pad(strokes, missing), np.pad(written, missing)
    distance, nearest = ndimage.distance_transform_edt(~written, return_indices=True)
    reach = np.clip(missing + 1 - distance, 0, 1)
    thick: np.ndarray = np.maximum(strokes, ndimage.maximum_filter(strokes, 3)[tuple(nearest)] * reach)
    return thick.astype(np.float32)


def _center(strokes: np.ndarray, side: int) -> np.ndarray:
    """Scale strokes to the box, and center them by their center of mass."""
    rows, columns = np.nonzero(strokes)
    crop = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    wide, high = crop[2] - crop[0], crop[3] - crop[1]
    scale = BOX * side / max(wide, high)
    size = max(1, round(wide * scale)), max(1, round(high * scale))
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    small = np.asarray(Image.fromarray(strokes).resize(size, method, crop))
    small = small / small.max()
    top, left = (
        int(np.clip(round(CENTER * side - 0.5 - middle), 0, side - length))
        for middle, length in zip(ndimage.center_of_mass(small), small.shape, strict=True)
    )
    out = np.zeros((side, side), dtype=np.uint8)
    out[top : top + size[1], left : left + size[0]] = np.rint(small * 255)
    return out
