"""The report can be read by everyone: hues for any kind of color vision, class names in any script, small screens."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from stages.draw import page, sheets
from stages.draw.confusion import draw_confusion
from stages.draw.curves import TRAIN, VALIDATION, draw_curves
from stages.draw.sheets import Group, Tile, draw_sheet
from stages.draw.style import find_missing_letters
from stages.images.thumbnail import encode_thumbnail
from tests.conftest import PROJECT

CSS = (PROJECT / "stages/draw/report.css").read_text()
# Machado, Oliveira and Fernandes 2009, severity 1: what is left of linear RGB.
VISIONS = {
    "typical": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def rgb(color: str) -> np.ndarray:
    return np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255


def lab(linear: np.ndarray) -> np.ndarray:
    """Return CIELAB of linear sRGB, white point D65."""
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = np.array(to_xyz) @ linear / (0.95047, 1, 1.08883)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def difference(one: np.ndarray, other: np.ndarray, vision: str) -> float:
    """Return the distance of two colors in CIELAB (CIE76), as someone with that color vision sees them."""
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in (one, other)]
    seen = [np.clip(np.array(VISIONS[vision]) @ color, 0, 1) for color in linear]
    return float(np.linalg.norm(lab(seen[0]) - lab(seen[1])))


def in_the_dark(color: np.ndarray) -> np.ndarray:
    """Return a color of a drawing as the page's filter shows it in dark mode (W3C Filter Effects, hueRotate)."""
    (share,) = re.findall(r"\.drawing img \{ filter: invert\((\.\d+)\) hue-rotate\(180deg\)", CSS)
    inverted = float(share) + color * (1 - 2 * float(share))
    turn = [[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]]
    return np.clip(np.array(turn) @ inverted, 0, 1)


def pairs() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Go through the pairs of colors that must not be taken for each other."""
    dark = CSS[CSS.index("prefers-color-scheme: dark") :]
    for name, css in (("light", CSS), ("dark", dark)):
        colors = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", css)[::-1])
        for one, other in (("head", "tuned"), ("right", "wrong")):
            yield f"{name} {one} {other}", rgb(colors[one]), rgb(colors[other])
    for one, other in ((TRAIN, VALIDATION), (sheets.RIGHT, sheets.WRONG)):
        yield f"{one} {other}", rgb(one), rgb(other)
    yield "curves in the dark", in_the_dark(rgb(TRAIN)), in_the_dark(rgb(VALIDATION))


@pytest.mark.parametrize("vision", VISIONS)
def test_colors_are_told_apart_with_any_color_vision(vision: str) -> None:
    for name, one, other in pairs():
        assert difference(one, other, vision) > 30, name


def test_drawings_do_not_glare_in_the_dark() -> None:
    ground, ink = in_the_dark(np.ones(3)), in_the_dark(rgb("#333333"))
    paper = re.findall(r"--paper: (#[0-9a-f]{6})", CSS)[-1]
    assert ground == pytest.approx(rgb(paper), abs=0.005)  # no seam
    assert difference(ground, ink, "typical") > 50


@pytest.mark.parametrize(("one", "other"), [("猫", "馬"), ("马", "鸟"), ("고양이", "강아지"), ("ねこ", "いぬ")])
def test_names_in_chinese_japanese_and_korean_differ_in_every_picture(one: str, other: str, tmp_path: Path) -> None:
    picture = encode_thumbnail(np.zeros((8, 8, 1), np.uint8))
    drawn = []
    for name in (one, other):
        draw_confusion(pd.DataFrame(np.eye(2), index=[name, "b"], columns=[name, "b"]), tmp_path / "matrix.png")
        draw_sheet([Group("test: 1 image", [Tile(picture, name, "1.jpg", True)])], 3, tmp_path / "sheet.png")
        drawn.append([(tmp_path / file).read_bytes() for file in ("matrix.png", "sheet.png")])
    assert all(first != second for first, second in zip(*drawn, strict=True))


def test_letters_without_a_font_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = Figure()
    figure.text(0, 0, "✓ cat 猫 고양이")
    assert find_missing_letters(figure) == []
    draw_confusion(pd.DataFrame(np.eye(2), index=["แมว", "b"], columns=["แมว", "b"]), tmp_path / "matrix.png")
    assert "matrix.png: no font for ม ว แ; the picture shows boxes for them" in capsys.readouterr().out


def test_fonts_that_happen_to_be_installed_are_not_used() -> None:
    from matplotlib.font_manager import fontManager

    assert {"site-packages" in font.fname for font in fontManager.ttflist} == {True}


def test_a_validation_loss_far_below_the_training_loss_has_room(tmp_path: Path) -> None:
    """It falls by a third, which its curve shows, though the training loss starts ten times higher."""
    epochs = range(1, 21)
    history = pd.DataFrame({"phase": "head", "epoch": epochs, "loss": [2.0 - 0.05 * n for n in epochs]})
    history["val_loss"] = [0.24 - 0.004 * n for n in epochs]
    history = history.assign(accuracy=0.5, val_accuracy=0.9, kept=(history["epoch"] == 20).astype(int))
    draw_curves(history, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        pixels = np.asarray(image.convert("RGB"), float) / 255
    top = pixels[: len(pixels) // 2]
    rows, columns = np.nonzero(np.abs(top - rgb(VALIDATION)).max(axis=2) < 0.1)
    first, last = rows[columns < columns.min() + 10].mean(), rows[columns > columns.max() - 10].mean()
    assert last - first > 0.05 * len(top)  # on a linear axis: half of that


def test_pictures_fit_a_phone_unless_they_would_be_illegible() -> None:
    assert "min-width:0px" in page.picture(b"", "curves", 620)
    assert "min-width:410px" in page.picture(b"", "matrix", 820, 410)
