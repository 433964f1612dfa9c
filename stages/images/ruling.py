"""Remove the printed lines of ruled and squared paper from an image of handwriting.

Printed lines run parallel from edge to edge with equal strength; strokes do not. As in Chen and Lopresti, A Model-Based
Ruling Line Detection Algorithm for Noisy Handwritten Documents (ICDAR 2011), all lines of one direction are fitted
together, here with the perspective and the curvature of a photograph, and then followed along bends of the paper. The
share of light that remains on each line is measured along it, and the image is divided by that. Nothing is erased, so
ink on a line, which is darker, remains. (Lopresti and Kavallieratou, Ruling Line Removal in Handwritten Page Images,
ICPR 2010, use the regular width and spacing of lines to preserve characters.) Brightness alone suffices, even if lines
and ink differ in color.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from stages.images.resample import shrink

LONGEST = 640  # longest side, in pixels, at which lines are detected
NARROWEST = 64  # minimum shorter side of an image, in pixels
FEWEST = 3  # minimum number of lines of one direction on ruled paper; across them a single margin line suffices
STEEPEST = 0.45  # maximum slope of lines: 24 degrees
CONVERGENT = 0.1  # maximum difference of the lines' slopes over half the image
REACH = 1 / 120  # half the width of the widest line, as a share of the longer side
STRONG = 0.15  # absorbed share of light at which the search clips, so that ink does not outweigh lines
FAINTEST = 0.03  # minimum share of light that a line absorbs; fainter lines do no harm
ALIKE = 0.3, 2.0  # range of a line's absorption, relative to the typical line
SECTIONS = 16  # sections of equal length along a line
FOUND = 0.75  # share of the sections within the image in which a line must be found
LONG = 0.6  # share of the sections that must lie within the image; a shorter line cuts a corner, or is a stroke
COLUMNS = 48  # columns that the search samples
STEP = 0.5  # pixels between the positions at which lines are measured
WANDER = 4  # pixels that a line may deviate from the fit, to either side
ALONG = 80  # pixels across the lines over which they bend alike
DARK = 4  # added to all light, so that near-black pixels have little weight

_BESIDE = 3  # times REACH: the width within which there is paper beside a line


@dataclass(frozen=True)
class Pencil:
    """Lines that nearly meet in one point: y = v + (slope + turn * v) * x + bend * x**2, one for each v.

    x and y are in pixels, from the middle of the image.
    """

    slope: float
    turn: float
    bend: float

    def y(self, v: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the y of line ``v`` in column ``x``."""
        return np.asarray(v + (self.slope + self.turn * v) * x + self.bend * x * x)

    def v(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the line through a point."""
        return np.asarray((y - self.slope * x - self.bend * x * x) / (1 + self.turn * x))


def remove_ruling(image: Image.Image) -> Image.Image:
    """Remove printed lines from an image of dark ink on light paper, in mode L.

    Returns:
        The image itself if there are none; otherwise one with sides of at most ``LONGEST`` pixels, without its
        outermost hundredth.
    """
    small = shrink(image, LONGEST)
    if min(small.size) < NARROWEST:
        return image
    light = np.asarray(small, dtype=np.float32) + DARK
    reach = max(3, round(REACH * max(light.shape)))
    (lying, left), (standing, left_across) = (_measure(each, reach) for each in (light, np.ascontiguousarray(light.T)))
    if max(lying, standing) < FEWEST:
        return image
    left = np.minimum(left, left_across.T)  # where lines cross, ink is printed once
    paper = ndimage.maximum_filter(ndimage.uniform_filter(light, 5), _BESIDE * reach)
    paper = ndimage.uniform_filter(paper, _BESIDE * reach)
    light = np.where(left < 1, np.maximum(np.minimum(light / left, paper), light), light)
    inner = light[reach:-reach, reach:-reach]  # at the border a line cannot be told from an edge
    return Image.fromarray(np.rint(np.clip(inner - DARK, 0, 255)).astype(np.uint8))


def _measure(light: np.ndarray, reach: int) -> tuple[int, np.ndarray]:
    """Return how many lines go from left to right, and for each pixel the share of the light that they leave."""
    height, width = light.shape
    ridges = _find_ridges(light, reach)
    pencil = _fit(ridges)
    if pencil is None:
        return 0, np.ones_like(light)
    x = np.arange(width, dtype=np.float32) - width / 2
    y = np.arange(height, dtype=np.float32)[:, None] - height / 2
    outer = pencil.v(y[[0, 0, -1, -1], 0], x[[0, -1, 0, -1]])
    v = np.arange(outer.min(), outer.max(), STEP, dtype=np.float32)
    rows = pencil.y(v[:, None], x) + height / 2
    seen = (rows > reach) & (rows < height - 1 - reach)
    moved = _follow(np.where(seen, _sample(ridges, rows), 0), seen)
    straight = _sample(light, rows + moved)
    paper = ndimage.maximum_filter1d(ndimage.uniform_filter1d(straight, 7, axis=1), int(_BESIDE * reach / STEP), axis=0)
    lines, left = _profile(np.where(seen, straight / paper, np.inf), reach)
    near = np.clip(np.rint((pencil.v(y, x) - v[0]) / STEP), 0, len(v) - 1).astype(int)
    return lines, np.interp(pencil.v(y - moved[near, np.arange(width)], x), v, left).astype(np.float32)


def _find_ridges(light: np.ndarray, reach: int) -> np.ndarray:
    """Return how much darker pixels are than both those above and those below, as a share; at an edge that is 0."""
    light = ndimage.gaussian_filter(light, 0.7)
    padded = np.pad(light, ((reach, reach), (0, 0)), mode="edge")
    beside = np.minimum(padded[: -2 * reach], padded[2 * reach :])
    return np.asarray(np.clip(1 - light / beside, -STRONG, STRONG))


def _fit(ridges: np.ndarray) -> Pencil | None:
    """Find the lines along which ridges gather most, as a Radon transform does; None where they do not gather."""
    height, width = ridges.shape
    every = max(1, width // COLUMNS)
    some = ndimage.uniform_filter1d(ridges, 5, axis=1)[:, every // 2 :: every]
    y, x = np.nonzero(some > FAINTEST / 2)
    if not len(y):
        return None
    weight = some[y, x]
    down, right = y - np.float32(height / 2), x * np.float32(every) + (every // 2 - np.float32(width / 2))

    def gather(line: tuple[float, ...], cell: int, weight: np.ndarray | None = weight) -> np.ndarray:
        v = Pencil(*line).v(down, right)
        return np.bincount(((v - v.min()) / cell).astype(np.int32), weight)

    def score(line: tuple[float, ...], cell: int) -> float:
        return float(np.square(gather(line, cell)).sum())

    steps = np.array([0.005, CONVERGENT / 2 / width, 16 / width**2])  # the last: 4 pixels at the image's sides
    slopes = np.arange(-STEEPEST, STEEPEST, 2 * steps[0])
    turns = np.arange(-2, 3) * 2 * steps[1]
    best = max(((slope, turn, 0.0) for slope in slopes for turn in turns), key=lambda line: score(line, 2))
    around = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T
    for _ in range(6):
        best = max((tuple(best + steps * to) for to in around), key=lambda line: score(line, 1))
        steps = steps * 0.6
    return Pencil(*best) if gather(best, 4, None).max() > FOUND * some.shape[1] else None


def _follow(ridges: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return how far lines lie, in pixels, below where the fit has them; (places, columns), as both arguments."""
    parts = _divide(ridges).mean(axis=2) / np.maximum(_divide(seen).mean(axis=2), 0.2)
    span = int(ALONG / STEP)
    shifts = np.arange(-int(WANDER / STEP), int(WANDER / STEP) + 1)
    places = np.arange(len(parts))[:, None]
    moved = np.zeros(parts.shape)
    for _ in range(2):
        at = places + np.rint(moved).astype(int)
        shifted = [np.take_along_axis(parts, np.clip(at + shift, 0, len(parts) - 1), axis=0) for shift in shifts]
        mean = np.clip(shifted[len(shifts) // 2], 0, None).mean(axis=1, keepdims=True)
        fits = ndimage.uniform_filter1d(np.stack(shifted) * (mean - mean.mean()), span, axis=1)
        best = shifts[np.argmax(fits * (1 - 0.03 * np.abs(shifts))[:, None, None], axis=0)]  # in doubt the nearest
        best = ndimage.median_filter(best[:: span // 4], 3).repeat(span // 4, axis=0)[: len(parts)]
        moved = ndimage.gaussian_filter(moved + best, (span / 4, 0.7))
    width = ridges.shape[1]
    at = np.interp(np.arange(width), (np.arange(SECTIONS) + 0.5) * (width // SECTIONS), np.arange(SECTIONS))
    low = np.minimum(at.astype(int), SECTIONS - 2)
    return np.asarray((moved[:, low] + (moved[:, low + 1] - moved[:, low]) * (at - low)) * STEP, np.float32)


def _profile(ratio: np.ndarray, reach: int) -> tuple[int, np.ndarray]:
    """Return how many lines there are, and for each place across them the share of the light that is left.

    Medians along the line, because ink lies on a part of it; the quarter that is darkest is ink or badly followed.

    Args:
        ratio: light as a share of the paper's, (places, columns); infinite outside the image.
        reach: half the width of the widest line, in pixels.
    """
    median, parts = _quantile(ratio, 0.5), _quantile(_divide(ratio), 0.5)
    inside, known = np.isfinite(median), np.isfinite(parts)
    usual = np.median(median[inside])
    depth = usual - np.where(inside, median, usual)
    found = known & (usual - np.where(known, parts, usual) > 0.5 * depth[:, None])
    length = known.sum(axis=1)
    whole = (found.sum(axis=1) >= FOUND * length) & (length > 0)
    nth = np.cumsum(known, axis=1)
    for end in nth <= 2, nth > nth[:, -1:] - 2:  # a stroke does not reach both edges
        whole &= (found & end).any(axis=1)
    tops = (depth == ndimage.maximum_filter1d(depth, int(reach / STEP) | 1)) & (depth > FAINTEST) & whole
    if not tops.any():
        return 0, np.ones(len(depth))
    typical = np.median(depth[tops])
    tops &= depth > ALIKE[0] * typical
    top = ndimage.maximum_filter1d(np.where(tops, depth, 0), int(_BESIDE * reach / STEP) | 1)
    line = ndimage.binary_dilation((top > 0) & (depth > 0.1 * top))
    left = np.where(line, np.clip(_quantile(ratio, 0.25) / usual, 1 - ALIKE[1] * typical, 1), 1)
    runs, _ = ndimage.label(depth > 0.5 * np.maximum(top, FAINTEST))
    return len(np.unique(runs[tops & (length >= LONG * SECTIONS)])), left


def _divide(values: np.ndarray) -> np.ndarray:
    """View columns as sections: (places, columns) → (places, SECTIONS, columns of a section)."""
    each = values.shape[1] // SECTIONS
    return values[:, : each * SECTIONS].reshape(len(values), SECTIONS, each)


def _quantile(values: np.ndarray, share: float) -> np.ndarray:
    """Return a quantile of the finite values along the last axis; infinity where there are fewer than 4."""
    values = np.sort(values, axis=-1)
    count = np.isfinite(values).sum(axis=-1)
    place = np.maximum(share * (count - 1), 0).astype(int)
    return np.where(count < 4, np.inf, np.take_along_axis(values, place[..., None], axis=-1)[..., 0])


def _sample(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return ``values`` (height, width) at ``rows`` (places, width) of their columns, linearly interpolated."""
    above = np.clip(rows, 0, len(values) - 2).astype(np.int32)
    columns = np.arange(values.shape[1])
    upper, lower = values[above, columns], values[above + 1, columns]
    return np.asarray(upper + np.clip(rows - above, 0, 1) * (lower - upper))
