"""Bring an image of handwriting, such as a photograph of ink on paper, into MNIST's own form.

The form is that of LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition (1998),
section III.A: light strokes on black, keeping their proportions in a box of 20 of 28 pixels, with the center of mass in
the middle. What goes before is for photographs: lines printed on the paper are taken out, the paper is divided out, ink
is what Otsu's threshold (1979) separates from it, specks are dropped, and strokes thinner than MNIST's are thickened.
An image that is in the form already, as each of MNIST's, comes out nearly as it went in.
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
WORK = 320  # longest side, in pixels, at which ink is looked for
PAPER = 96  # longest side at which paper is estimated
WINDOW = 3  # what is narrower than 1 / WINDOW of the longest side can be a stroke; what is wider is paper
CONTRAST = 0.1  # share of the paper's light that ink takes away, at least; a pencil takes 0.2 to 0.5
SEPARATION = 4  # how many standard deviations of the paper ink differs from it, at least
FAINT = 0.2  # share of the threshold down to which the soft edge of a stroke belongs to it
SMALLEST = 0.03  # ink is longer than this share of the longest side
SPECK = 0.05  # parts with less ink than this share of the main part are specks
MNIST = 28  # side of MNIST's images, at which a patch is told from strokes
FILLED = 0.85  # share of its box above which ink is a dark patch; MNIST's digits reach 0.75
UPRIGHT = 0.5  # shorter side of the box, as a share of the longer, up to which strokes may fill it: a 1
WHOLE = 0.1  # beside a whole part with this share of their ink, parts that the image's edge cuts (a pen) are no ink

UNTOLD = "no handwriting can be told from the paper"

_EIGHT = np.ones((3, 3), dtype=bool)  # neighbors, diagonal ones too


def normalize_ink(gray: np.ndarray, side: int, dark_on_light: bool) -> np.ndarray:
    """Find the handwriting in an image and bring it into MNIST's form.

    Args:
        gray: uint8 pixels of shape (height, width).
        side: side of the square to return, in pixels.
        dark_on_light: True for ink on paper, False for light strokes on a dark ground.

    Returns:
        uint8 pixels of shape (side, side): strokes up to 255 on 0.

    Raises:
        BadImage: no handwriting can be told from the paper.
    """
    return _center(find_handwriting(gray, dark_on_light), side)


def find_handwriting(gray: np.ndarray, dark_on_light: bool) -> np.ndarray:
    """Find the handwriting in an image. Arguments are those of ``normalize_ink``.

    Returns:
        float32 strokes on 0, up to 1, as thick as MNIST's, with at most about ``WORK`` pixels a side.

    Raises:
        BadImage: no handwriting can be told from the paper: nothing is there, or it would be a filled patch.
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
    """Tell whether ink fills the box around it, which strokes do only where they are one upright or level line."""
    rows, columns = np.nonzero(written)
    high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    return bool(min(high, wide) > UPRIGHT * max(high, wide) and len(rows) > FILLED * high * wide)


def _measure_darkness(image: Image.Image) -> np.ndarray:
    """The share of the paper's light that is missing at each pixel, 0 to 1.

    Paper is what a gray closing leaves: strokes, narrower than its window, are filled with the light around them, and a
    shadow or a table that reaches the image's edge stays, since it is taken to go on outside. Of each neighborhood the
    darkest counts, so that the border of a shadow, which is not known to the pixel here, does not look like ink.
    """
    light = np.asarray(shrink(image, PAPER), dtype=np.float32)
    window = max(light.shape) // WINDOW + 1
    paper = ndimage.grey_closing(np.pad(light, window, mode="edge"), size=(window, window))
    paper = ndimage.grey_erosion(paper, size=(3, 3))[window:-window, window:-window]
    paper = np.asarray(Image.fromarray(paper).resize(image.size, Image.Resampling.BILINEAR))
    darkness: np.ndarray = np.clip(1 - (np.asarray(image, dtype=np.float32) + 1) / (paper + 1), 0, 1)
    return darkness


def _find_ink(darkness: np.ndarray) -> np.ndarray:
    """Which pixels are ink: above Otsu's threshold, and part of something large enough; none on blank paper.

    Where ink is rare, Otsu's threshold would divide the paper's own noise: ``CONTRAST`` is the lowest that is believed.
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
    """The longer side, in pixels, of the box around a mask."""
    return int(max(np.ptp(places) for places in np.nonzero(mask))) + 1


def _otsu(values: np.ndarray) -> float:
    """The threshold that separates values between 0 and 1 into two classes with the largest variance between them."""
    counts = np.bincount((values * 255).astype(np.uint8).ravel(), minlength=256)
    sums = np.cumsum(counts * np.arange(256))
    below = np.cumsum(counts)
    above = values.size - below
    apart = sums / np.maximum(below, 1) - (sums[-1] - sums) / np.maximum(above, 1)
    return float(np.argmax(below * above * apart**2) + 1) / 255


def _thicken(strokes: np.ndarray, written: np.ndarray) -> np.ndarray:
    """Widen strokes that are thinner than MNIST's, by whole pixels on either side and with soft edges.

    Whole pixels, because the width of a stroke of two or three pixels is not known better; so MNIST's own stay as they
    are.
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
    """Scale strokes to the box and put their center of mass in the middle."""
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
