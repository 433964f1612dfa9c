"""HEIC photographs: read where pi-heif is installed, and else refused with the command that installs it."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages import split
from stages.base.stage import stage
from stages.images.contract import Contract
from stages.images.decode import HEIC_EXTRA, BadImage, NotAnImage, decode
from stages.images.load import load, load_all
from stages.tools.predict import SkippedFiles, find_images
from tests.conftest import PROJECT
from tests.test_images import box, encode, picture
from tests.test_range import Project
from tests.test_range import project_with as project_with

# Four fields of 32 x 24 pixels: red and green above, blue and white below, 741 bytes; to be turned a quarter to the
# right, as its own boxes say (irot), and the EXIF tag beside them as well, which cameras write for older programs.
TURNED = (PROJECT / "tests" / "turned.heic").read_bytes()
BRANDS = ("heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "mif2", "msf1", "heif")
CONTRACT = Contract(8, 3, "photo", "light_on_dark", "stretch")


def corners(pixels: np.ndarray) -> list[list[int]]:
    """Colors inside the corners, row by row, as near as 128 steps."""
    height, width, _ = pixels.shape
    places = [(y, x) for y in (height // 4, -height // 4) for x in (width // 4, -width // 4)]
    return [[round(value / 128) * 128 for value in pixels[place].astype(int)] for place in places]


@pytest.fixture
def without_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)


@pytest.mark.parametrize("brand", BRANDS)
def test_photographs_of_every_brand_are_read_and_turned_once(brand: str) -> None:
    image = decode(TURNED[:8] + brand.encode() + TURNED[12:])
    assert (image.mode, image.size) == ("RGB", (48, 64))
    assert corners(np.asarray(image)) == [[0, 0, 256], [256, 0, 0], [256, 256, 256], [0, 256, 0]]


@pytest.mark.parametrize("cut", [20, 100, 500, 700])
def test_a_cut_photograph_is_broken(cut: int) -> None:
    with pytest.raises(BadImage, match="truncated or broken"):
        decode(TURNED[:cut])
    with pytest.raises(BadImage, match="truncated or broken"):
        decode(box(b"mif1", b"miaf", b"heic"))


def test_avif_stays_with_pillow(without_reader: None) -> None:
    data = encode(picture(), "AVIF")
    assert decode(data).size == (40, 30)
    assert decode(data[:8] + b"mif1" + data[12:]).size == (40, 30), "avif is among its other brands"


@pytest.mark.parametrize("brand", BRANDS)
def test_without_a_reader_the_reason_names_the_command(without_reader: None, brand: str) -> None:
    with pytest.raises(BadImage) as refusal:
        decode(box(brand.encode(), b"miaf"))
    assert str(refusal.value) == f"a HEIC photograph, which needs `{HEIC_EXTRA}`; or export it as JPEG"
    assert not isinstance(refusal.value, NotAnImage)


def test_the_reader_is_imported_for_such_photographs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pi_heif", raising=False)
    decode(encode(picture()))
    assert "pi_heif" not in sys.modules


def test_predict_reads_them(tmp_path: Path) -> None:
    (tmp_path / "IMG_0001.HEIC").write_bytes(TURNED)
    found = SkippedFiles(recursive=False)
    (_, _, pixels), *others = find_images([tmp_path], CONTRACT, found)
    assert (others, found.unread) == ([], [])
    assert (pixels == load(TURNED, CONTRACT)).all()
    assert pixels[1, 1].tolist() == pytest.approx([0, 0, 255], abs=8)


def test_split_leaves_them_out_without_a_reader_and_says_what_to_do(
    project_with: Project, without_reader: None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project_with(max_rejects=0.5)
    for number, name in enumerate(("cat", "dog")):
        (folder / name).mkdir()
        for image in range(5):
            pixels = np.random.default_rng(10 * number + image).integers(0, 256, (9, 9), np.uint8)
            (folder / name / f"{image}.png").write_bytes(encode(Image.fromarray(pixels)))
    (folder / "cat" / "photograph.heic").write_bytes(TURNED)
    split.main()
    assert f"1 of them HEIC photographs: `{HEIC_EXTRA}`, then `dvc repro -f split" in capsys.readouterr().out
    rejects = Path("data/split/rejects.csv").read_text()
    assert f'cat/photograph.heic,cat,"a HEIC photograph, which needs `{HEIC_EXTRA}`' in rejects


def test_a_stage_that_needs_a_reader_ends_with_one_line(
    without_reader: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), stage("extract"):
        list(load_all([TURNED], CONTRACT))
    said = capsys.readouterr().err
    assert said == f"extract: a HEIC photograph, which needs `{HEIC_EXTRA}`; or export it as JPEG\n"
