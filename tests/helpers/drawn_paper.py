"""Ruled and squared paper, drawn under photographs of handwriting on blank paper."""

import math
from typing import Literal, get_args

import numpy as np
from numpy.random import Generator
from PIL import Image
from scipy.special import erf

Kind = Literal["ruled", "squared"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# What a print of full strength leaves of the paper's red, green and blue light.
COLORS = {
    "blue": (0.45, 0.65, 0.9),
    "pale blue": (0.6, 0.85, 0.95),
    "gray": (0.55, 0.55, 0.55),
    "violet": (0.6, 0.5, 0.8),
    "green": (0.55, 0.8, 0.65),
}
RED = (0.85, 0.5, 0.5)  # of the margin


def draw_paper(image: Image.Image, kind: Kind, rng: Generator) -> Image.Image:
    """Print lines under what an RGB photograph shows, as if the sheet had been printed before.

    Light is multiplied: where ink lies on a line, less of it is left than of either. At random are the pitch
    (squares of 1/50 to 1/9 of the photograph's longer side; rules twice as far apart), color, strength, width (0.6 to
    3 pixels of 512), tilt (up to 10 degrees), perspective, curvature, sharpness, a shadow over the whole, and on most
    ruled sheets a red margin.
    """
    width, height = image.size
    longest = max(width, height)
    down, right = (axis.astype(np.float32) for axis in np.mgrid[:height, :width])
    down, right = (down - height / 2) / longest, (right - width / 2) / longest
    tilt = math.radians(rng.uniform(-10, 10))
    across = right * math.cos(tilt) + down * math.sin(tilt)
    along = down * math.cos(tilt) - right * math.sin(tilt)
    depth = 1 + rng.uniform(-0.12, 0.12) * across + rng.uniform(-0.12, 0.12) * along  # a camera held aslant
    across, along = across / depth, along / depth
    along = along + rng.uniform(-0.03, 0.03) * across**2  # a page that does not lie flat
    pitch = math.exp(rng.uniform(math.log(1 / 50), math.log(1 / 9))) * (2 if kind == "ruled" else 1)
    line = min(rng.uniform(0.6, 3) / 512, pitch / 6)
    soft = rng.uniform(0.5, 1.6) / 512
    color = np.array(list(COLORS.values())[rng.integers(len(COLORS))])
    strength = rng.uniform(0.35, 1)
    printed = _lines(along, pitch, line, soft, rng)
    if kind == "squared":
        printed = np.maximum(printed, _lines(across, pitch, line, soft, rng))
    left = 1 - strength * printed[..., None] * (1 - color)
    if kind == "ruled" and rng.random() < 0.7:
        place = rng.choice([-1, 1]) * rng.uniform(0.2, 0.45) * width / longest
        margin = _coverage(np.abs(across - place), line * rng.uniform(1, 1.5), soft)
        left *= 1 - rng.uniform(0.5, 1) * margin[..., None] * (1 - np.array(RED))
    light = 1 + rng.uniform(0, 0.25) * np.sin(rng.uniform(1, 3) * right + rng.uniform(1, 3) * down)
    light *= 1 - rng.uniform(0, 0.3) / (1 + np.exp(-(right + rng.uniform(-1, 1) * down) / 0.05))
    pixels = np.asarray(image.convert("RGB"), np.float32) * left * light[..., None]
    return Image.fromarray(np.rint(pixels.clip(0, 255)).astype(np.uint8))


def _lines(place: np.ndarray, pitch: float, line: float, soft: float, rng: Generator) -> np.ndarray:
    """Return how far each place is covered by lines ``pitch`` apart, 0 to 1; all in shares of the longest side."""
    phase = (place / pitch + rng.random() + 0.5) % 1 - 0.5
    return _coverage(np.abs(phase) * pitch, line, soft)


def _coverage(distance: np.ndarray, line: float, soft: float) -> np.ndarray:
    """Return the share of ink at a distance from the middle of a line with blurred edges."""
    edges = (erf((distance + line / 2) / soft) - erf((distance - line / 2) / soft)) / 2
    return np.asarray(edges)
