"""The ink form: any image of handwriting comes out as MNIST's images are."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw
from scipy import ndimage

from stages.images.decode import BadImage, decode
from stages.images.ink import normalize_ink
from stages.images.ruling import remove_ruling
from tests.helpers.drawn_paper import KINDS, Kind, draw_paper


def page(width: int = 300, height: int = 400, paper: int = 200) -> Image.Image:
    return Image.new("L", (width, height), paper)


def seven(image: Image.Image, left: int = 100, top: int = 120, size: int = 100, pen: int = 8, shade: int = 60) -> None:
    """Write a 7: upper left, upper right, lower middle."""
    corners = [(left, top), (left + size * 6 // 10, top), (left + size * 3 // 10, top + size)]
    ImageDraw.Draw(image).line(corners, fill=shade, width=pen, joint="curve")


def written(image: Image.Image, side: int = 28) -> np.ndarray:
    return normalize_ink(np.asarray(image), side, dark_on_light=True)


def plain_seven() -> np.ndarray:
    image = page()
    seven(image)
    return written(image)


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two images, of their best fit within one pixel."""
    shifts = [np.roll(other, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return max(float(np.corrcoef(one.ravel(), shifted.ravel())[0, 1]) for shifted in shifts)


@pytest.mark.parametrize("side", [20, 28, 32, 96, 224])
def test_ink_fills_the_box_with_its_mass_in_the_middle(side: int) -> None:
    image = page()
    seven(image, left=180, top=30)
    out = written(image, side)
    rows, columns = np.nonzero(out)
    assert (out.shape, out.dtype, out.max(), out[0].max(), out[:, 0].max()) == ((side, side), np.uint8, 255, 0, 0)
    assert abs(np.ptp(rows) + 1 - side * 20 / 28) <= 1
    assert np.ptp(columns) + 1 == pytest.approx((np.ptp(rows) + 1) * 0.65, abs=side / 20)
    # The center of mass of MNIST's images is pixel 14 of 28.
    assert np.abs(np.array(ndimage.center_of_mass(out)) - (side * 14.5 / 28 - 0.5)).max() <= 0.51


def test_place_size_pen_and_shade_do_not_matter() -> None:
    for left, top, size, pen, shade in [(5, 5, 100, 8, 60), (100, 200, 190, 20, 20), (60, 60, 60, 3, 140)]:
        image = page()
        seven(image, left, top, size, pen, shade)
        assert alike(written(image), plain_seven()) > 0.85, (left, top, size, pen, shade)


def test_light_strokes_on_a_dark_ground_come_out_the_same() -> None:
    image = page()
    seven(image)
    gray = np.asarray(image)
    assert np.array_equal(
        normalize_ink(255 - gray, 28, dark_on_light=False), normalize_ink(gray, 28, dark_on_light=True)
    )


def test_uneven_light_does_not_matter() -> None:
    image = page()
    seven(image)
    gray = np.asarray(image).astype(float)
    y, x = np.mgrid[:400, :300]
    lights = {
        "from the left": 0.4 + 0.6 * x / 300,
        "in a corner": 1 - 0.7 * np.exp(-(x**2 + (400 - y) ** 2) / 60**2),
        "along the lower edge": 1 - 0.6 * np.exp(-(400 - y) / 25),
        "a sharp shadow": np.where(x + y > 520, 0.5, 1.0),
    }
    for name, light in lights.items():
        assert alike(normalize_ink((gray * light).astype(np.uint8), 28, True), plain_seven()) > 0.95, name


def test_the_table_round_the_paper_is_no_ink() -> None:
    image = page()
    seven(image)
    for table in (20, 90, 255):
        scene = Image.new("L", (400, 500), table)
        scene.paste(image, (50, 50))
        assert alike(written(scene), plain_seven()) > 0.9, table


def test_specks_are_dropped_and_parts_of_a_digit_are_kept() -> None:
    clean, specked = page(), page()
    for image in (clean, specked):
        draw = ImageDraw.Draw(image)
        draw.line([(100, 250), (160, 230), (150, 180), (110, 170)], fill=50, width=8)
        draw.line([(110, 150), (160, 145)], fill=50, width=8)  # the bar of a 5, off its body
    for place in [(30, 30), (270, 350), (40, 300), (280, 60)]:
        specked.paste(50, (*place, place[0] + 6, place[1] + 5))
    assert np.array_equal(written(specked), written(clean))
    body = page()
    ImageDraw.Draw(body).line([(100, 250), (160, 230), (150, 180), (110, 170)], fill=50, width=8)
    assert alike(written(clean), written(body)) < 0.8


def test_a_pen_that_lies_in_the_picture_is_no_ink_but_a_digit_that_the_edge_cuts_is() -> None:
    image = page()
    seven(image)
    ImageDraw.Draw(image).line([(299, 300), (210, 250)], fill=30, width=25)
    assert alike(written(image), plain_seven()) > 0.99
    at_the_edge = page()
    seven(at_the_edge, left=-2)
    at_the_edge.paste(60, (200, 300, 203, 303))
    assert alike(written(at_the_edge), plain_seven()) > 0.9


def test_thin_strokes_become_as_thick_as_mnists() -> None:
    image = page()
    seven(image, size=200, pen=3)
    row = written(image)[14] / 255
    assert 1.7 <= row.sum() <= 3.5


UNTOLD = "^no handwriting found$"


@pytest.mark.parametrize("paper", [0, 30, 200, 255])
def test_blank_paper_is_refused(paper: int) -> None:
    blank = np.full((200, 150), float(paper))
    noise = np.random.default_rng(1).normal(0, 1, blank.shape)
    dust = blank.copy()
    dust[50:53, 60:63] = 128
    for gray in (blank, blank[:1, :1], blank + 3 * noise, 150 + 30 * noise, dust):
        with pytest.raises(BadImage, match=UNTOLD):
            normalize_ink(np.clip(gray, 0, 255).astype(np.uint8), 28, dark_on_light=paper > 100)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_ruled_paper_without_handwriting_is_refused(kind: Kind, seed: int) -> None:
    paper = draw_paper(page().convert("RGB"), kind, np.random.default_rng(seed))
    with pytest.raises(BadImage, match=UNTOLD):
        written(paper.convert("L"))


def test_a_dark_patch_is_refused_and_a_thick_upright_line_is_not() -> None:
    patch, line = page(), page()
    patch.paste(40, (100, 150, 180, 220))
    line.paste(40, (140, 100, 170, 220))
    with pytest.raises(BadImage, match=UNTOLD):
        written(patch)
    assert written(line).any()


@settings(max_examples=60)
@given(
    gray=arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))),
    side=st.integers(1, 40),
    dark_on_light=st.booleans(),
)
def test_any_pixels_give_an_image_or_are_refused(gray: np.ndarray, side: int, dark_on_light: bool) -> None:
    try:
        out = normalize_ink(gray, side, dark_on_light)
    except BadImage:
        return
    assert (out.shape, out.dtype, out.max()) == ((side, side), np.uint8, 255)


@pytest.mark.parametrize("size", [(64, 64), (65, 400), (400, 64), (150, 90)])
def test_lines_are_looked_for_in_any_pixels(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)
    for gray in (noise, noise // 255, 255 - noise // 255, np.repeat(noise[:1], len(noise), axis=0)):
        assert remove_ruling(Image.fromarray(gray)).mode == "L"


@pytest.mark.parametrize("kind", KINDS)
def test_lines_of_the_paper_go_and_strokes_stay(kind: Kind, shared: Path) -> None:
    """What is found on drawn paper is what is found on the blank paper that it was drawn under."""
    files = sorted((shared / "datasets" / "own_digits").glob("*/*.jpg"))[::12]
    likeness = []
    for number, file in enumerate(files):
        image = decode(file.read_bytes())
        drawn = draw_paper(image.convert("RGB"), kind, np.random.default_rng(number)).convert("L")
        likeness.append(alike(written(drawn), written(image.convert("L"))))
    assert np.mean(np.array(likeness) > 0.85) > 0.8, likeness
    assert np.median(likeness) > 0.95


def test_a_stroke_along_a_line_stays() -> None:
    image = page()
    seven(image, left=100, top=120, size=100)
    gray = np.asarray(image).astype(float)
    gray[np.arange(20, 400, 20)] *= 0.6  # one line goes through the bar of the 7
    assert alike(normalize_ink(gray.astype(np.uint8), 28, True), plain_seven()) > 0.9


def test_where_there_are_no_lines_nothing_changes(shared: Path) -> None:
    long = page()  # strokes that are long, straight and side by side, but no lines of the paper
    for left in (60, 140, 220):
        ImageDraw.Draw(long).line([(left, 40), (left + 10, 360)], fill=60, width=4)
    edge = page()
    edge.paste(90, (0, 0, 300, 60))
    photographs = sorted((shared / "datasets" / "own_digits").glob("*/*.jpg"))[1::5]
    for image in (long, edge, *(decode(file.read_bytes()).convert("L") for file in photographs)):
        assert remove_ruling(image) is image


def test_a_large_photograph_gives_what_a_small_one_gives() -> None:
    image = page()
    seven(image)
    assert alike(written(image.resize((3000, 4000))), plain_seven()) > 0.95


def mnist(shared: Path, name: str, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress((shared / "mirror" / name).read_bytes()), np.uint8, offset=header)


def test_mnists_own_images_stay_nearly_as_they_are(shared: Path) -> None:
    images = mnist(shared, "t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)[:300]
    out = np.stack([normalize_ink(image, 28, dark_on_light=False) for image in images])
    assert np.abs(out.astype(int) - images).mean() < 2  # of 255
    assert min(alike(one, other) for one, other in zip(images, out, strict=True)) > 0.8


def test_photographs_of_digits_look_like_mnists(shared: Path) -> None:
    """The digit of MNIST nearest to each photograph tells what it is, most times."""
    images = mnist(shared, "train-images-idx3-ubyte.gz", 16).reshape(-1, 784)[:12_000].astype(np.float32)
    labels = mnist(shared, "train-labels-idx1-ubyte.gz", 8)[:12_000]
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    files = sorted((shared / "datasets" / "own_digits").glob("*/*.jpg"))
    right = 0
    for file in files:
        gray = np.asarray(decode(file.read_bytes()).convert("L"))
        nearest = np.argmax(images @ normalize_ink(gray, 28, dark_on_light=True).ravel().astype(np.float32))
        right += int(labels[nearest]) == int(file.parent.name)
    assert right / len(files) > 0.85
