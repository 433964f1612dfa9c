"""Make the paper set: scanned digits redrawn like phone photographs, dark ink on lit, slightly uneven paper.

The 8x8 scan of a digit gives the center line of its strokes. A pen follows that line with random width, slant,
rotation, size and position. The ranges were tuned by eye against phone photographs of handwritten digits.

    python -m stages.fetch paper_digits     writes data/fetch/paper_digits
"""

import math
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image
from scipy import ndimage

from stages.builtin_data.digits import Scans, divide_digits

SEED = 1998
FINE = 8  # pixels per pixel of the scan, at the resolution at which strokes are computed
MARGIN = 2  # empty pixels of the scan around the digit
REACH = 8.0  # distance from a stroke's edge, in fine pixels, up to which its outline is computed
QUALITY = 90  # of the JPEG files


def write_paper(folder: Path) -> str:
    """Write the paper set into ``folder`` as CLASS/NNN.jpg; return a description of it."""
    scans = divide_digits()["paper"]
    for digit in range(10):
        (folder / str(digit)).mkdir()
        for count, place in enumerate(np.flatnonzero(scans.labels == digit)):
            photograph(scans, int(place)).save(folder / str(digit) / f"{count:03d}.jpg", quality=QUALITY)
    return f"{len(scans.labels)} photographs, dark ink on paper, {len(scans.labels) // 10} of each digit"


def photograph(scans: Scans, place: int) -> Image.Image:
    """Draw digit ``place`` of ``scans`` on paper: RGB, 160 to 260 pixels a side, always the same image."""
    rng = np.random.default_rng([SEED, int(scans.numbers[place])])
    height, width = (int(side) for side in rng.integers(160, 261, 2))
    paper = _draw_paper(height, width, rng)
    ink = _draw(_outline(scans.ink[place], rng), height, width, rng)
    ink *= rng.uniform(0.75, 0.95) * (1 + 0.12 * _make_noise(height, width, 12, rng))  # a pen does not cover evenly
    color = rng.uniform(28, 62) * np.array(
        [1, rng.uniform(0.95, 1.02), rng.uniform(0.95, 1.3)], np.float32
    )  # black to blue
    image = paper + (color - paper) * ink.clip(0, 1)[..., None]
    image += rng.uniform(1.0, 2.2) * rng.standard_normal((height, width, 1), np.float32)  # the sensor's noise
    return Image.fromarray(np.rint(image.clip(0, 255)).astype(np.uint8))


def _outline(scan: np.ndarray, rng: Generator) -> np.ndarray:
    """Return each fine pixel's depth inside the pen's stroke, in fine pixels, plus REACH; 0 is far outside."""
    scan = np.pad(scan, MARGIN)
    scan = scan + 1.2 * (scan - ndimage.uniform_filter(scan, 3))  # opens the small loops of 6, 8 and 9
    nearby = ndimage.maximum_filter(scan, 3)
    field, level = (_enlarge(values, FINE * len(scan)) for values in (scan, np.maximum(nearby, 0.3)))
    field = ndimage.gaussian_filter(field / (0.7 * level + 0.3), 0.2 * FINE)  # pale strokes count as much as dark ones
    blob = ndimage.binary_opening(field > 0.34, iterations=2)
    middle = _thin(blob)
    half_width = ndimage.gaussian_filter(np.where(middle, ndimage.distance_transform_edt(blob), 0.0), 4)
    half_width /= np.maximum(ndimage.gaussian_filter(middle.astype(float), 4), 1e-3)
    distance, nearest = ndimage.distance_transform_edt(~middle, return_indices=True)
    # Mix the pen's width with the scan's: where the scan is all ink, the stroke stays broad.
    pen = (rng.uniform(0.05, 0.25) * FINE + rng.uniform(0.4, 0.6) * half_width)[nearest[0], nearest[1]]
    inside = ndimage.gaussian_filter(pen - distance, 1.5)
    return np.asarray((inside + REACH).clip(0, 2 * REACH))


def _thin(blob: np.ndarray) -> np.ndarray:
    """Return the center line of ``blob``, one pixel wide (Zhang and Suen, CACM 27(3), 1984)."""
    whole = blob.astype(np.uint8)
    line = whole[ndimage.find_objects(whole)[0]]  # a view of the bounding box
    while True:
        before = line.sum()
        for removable in REMOVABLE:
            line[removable[ndimage.correlate(line, RING, mode="constant")]] = 0
        if line.sum() == before:
            return whole.astype(bool)


def _removable() -> tuple[np.ndarray, np.ndarray]:
    """Return for each of the 256 neighborhoods whether the first and the second pass remove its middle."""
    ring = (np.arange(256) >> np.arange(8)[:, None] & 1).astype(bool)  # north first, then clockwise
    north, east, south, west = ring[::2]
    around = ring.sum(axis=0)
    rises = (~ring & np.roll(ring, -1, axis=0)).sum(axis=0)
    edge = (around >= 2) & (around <= 6) & (rises == 1)
    first = ~(north & east & south) & ~(east & south & west)
    second = ~(north & east & west) & ~(north & south & west)
    return edge & first, edge & second


RING = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], np.uint8)  # gives each neighborhood its number
REMOVABLE = _removable()


def _draw(outline: np.ndarray, height: int, width: int, rng: Generator) -> np.ndarray:
    """Draw the digit with random place, size, slant and rotation; return the ink coverage, (height, width)."""
    tall = rng.uniform(0.34, 0.62) * min(height, width)
    scale = tall / (FINE * (len(outline) / FINE - 2 * MARGIN))  # image pixels for each fine pixel
    turn = math.radians(np.clip(rng.normal(0, 4), -10, 10))
    slant = rng.normal(0.1, 0.1)
    narrow = rng.uniform(0.8, 1.1)
    cos, sin = math.cos(turn), math.sin(turn)
    forth = scale * np.array([[cos, -sin], [sin, cos]]) @ np.array([[narrow, -slant], [0, 1]])
    back = np.linalg.inv(forth)
    room = 0.62 * tall
    middle = np.array([rng.uniform(room, side - room) for side in (width, height)])
    shift = len(outline) / 2 - back @ middle
    terms = (back[0, 0], back[0, 1], shift[0], back[1, 0], back[1, 1], shift[1])
    field = Image.fromarray(outline.astype(np.float32))
    drawn = np.asarray(field.transform((width, height), Image.Transform.AFFINE, terms, Image.Resampling.BICUBIC))
    edge = rng.uniform(1.6, 3.0)  # image pixels over which ink turns into paper: how sharp the photograph is
    return _smooth((drawn - REACH) * scale / edge + 0.5)


def _draw_paper(height: int, width: int, rng: Generator) -> np.ndarray:
    """Return empty paper, (height, width, 3): lit from one side, with a faint shadow and the sheet's relief."""
    down, right = (axis.astype(np.float32) / max(height, width) - 0.5 for axis in np.ogrid[:height, :width])
    toward, across = (right * math.cos(angle) + down * math.sin(angle) for angle in rng.uniform(0, 2 * math.pi, 2))
    light = 1 + rng.uniform(0.1, 0.35) * toward
    shadow = 1 - rng.uniform(0.0, 0.2) * _smooth((across - rng.uniform(-0.1, 0.5)) / rng.uniform(0.25, 0.7) + 0.5)
    relief = 1 + 0.02 * _make_noise(height, width, 40, rng) + 0.006 * _make_noise(height, width, 4, rng)
    gray = rng.uniform(145, 205) * light * shadow * relief
    warmth = rng.uniform(0.02, 0.06)
    warm = np.array([1, 1 - warmth, 1 - rng.uniform(1.6, 2.0) * warmth], np.float32)
    cool = np.array([-0.05, 0, 0.05], np.float32)  # lamps are warm, their shadows less so
    return np.asarray(gray[..., None] * (warm + (1 - shadow[..., None]) * cool))


def _make_noise(height: int, width: int, cell: int, rng: Generator) -> np.ndarray:
    """Return smooth noise, (height, width), with standard normal values about every ``cell`` pixels."""
    grid = rng.normal(size=(height // cell + 2, width // cell + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))


def _enlarge(values: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC))


def _smooth(values: np.ndarray) -> np.ndarray:
    """Return 0 below 0, 1 above 1, and a smooth step between."""
    values = values.clip(0, 1)
    return np.asarray(values * values * (3 - 2 * values))
