"""preprocess.py: one file that makes the pixels that the stages make, bit for bit, and refuses what they refuse."""

import io
import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stages.formats.preprocessing import LIBRARIES, join_preprocessing
from stages.images.contract import Contract
from stages.images.decode import HEIC_EXTRA, BadImage
from stages.images.load import load
from tests.conftest import PROJECT
from tests.helpers.copies import run

VERSIONS = dict.fromkeys(LIBRARIES, "1.2.3")
PHOTOS = [
    Contract(64, channels, "photo", polarity, fit, values)
    for (channels, fit), polarity, values in zip(
        product((1, 3), ("stretch", "crop", "pad")),
        ("light_on_dark", "dark_on_light") * 3,
        (None, (0, 4095), (-160, 240)) * 2,
        strict=True,
    )
]
INKS = [Contract(28, 1, "ink", "dark_on_light", "stretch"), Contract(40, 3, "ink", "light_on_dark", "pad", (0, 1023))]


def joined(contract: Contract, folder: Path) -> ModuleType:
    """Import the file, as a program that has only this file would."""
    path = folder / "preprocess.py"
    path.write_text(join_preprocessing(contract, VERSIONS), encoding="utf-8")
    spec = spec_from_file_location("preprocess", path)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def result(read: object, bad: type[Exception], data: bytes) -> tuple[str, bytes]:
    """Return what became of a file: shape, type and values of its pixels, or the reason why there are none."""
    try:
        pixels = read(data)  # type: ignore[operator]
    except bad as error:
        return str(error).replace(HEIC_EXTRA, "pip install pi-heif"), b""
    return f"{pixels.shape} {pixels.dtype}", pixels.tobytes()


@cache
def drawn() -> dict[str, bytes]:
    """Pictures of every kind that the loader tells apart."""
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    photo = noise.resize((180, 135), Image.Resampling.BICUBIC)
    paper = Image.new("L", (200, 260), 230)
    ImageDraw.Draw(paper).line([(60, 50), (140, 60), (80, 200)], fill=40, width=7)
    clear = photo.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    exif = Image.Exif()
    exif[274] = 6
    deep = Image.fromarray(random.integers(0, 65536, (50, 70), dtype=np.uint16))
    floating = Image.fromarray(random.normal(0.4, 0.3, (50, 70)).astype(np.float32))
    pictures = {
        "photo.png": (photo, {}),
        "turned.jpg": (photo, {"exif": exif}),
        "clear.webp": (clear, {"lossless": True}),
        "paper.png": (paper, {}),
        "board.png": (Image.eval(paper, lambda value: 255 - value), {}),
        "deep.png": (deep, {}),
        "floating.tif": (floating, {}),
        "palette.gif": (photo.quantize(16), {}),
        "blank.png": (Image.new("L", (90, 90), 255), {}),
    }
    found = {"empty": b"", "page": b"<!DOCTYPE html><p>404", "video": b"\0\0\0\x18ftypisom", "text": b"hello"}
    for name, (image, options) in pictures.items():
        buffer = io.BytesIO()
        image.save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(name[-3:], Path(name).suffix[1:]), **options)
        found[name] = buffer.getvalue()
    return found | {"cut.jpg": found["turned.jpg"][:3000]}


@pytest.mark.parametrize("contract", [*PHOTOS, *INKS], ids=str)
def test_the_file_does_what_the_stages_do(contract: Contract, tmp_path: Path) -> None:
    module = joined(contract, tmp_path)
    for name, data in drawn().items():
        expected = result(lambda data: load(data, contract), BadImage, data)
        assert result(module.load, module.BadImage, data) == expected, name
    assert vars(module.CONTRACT) == vars(contract)


@pytest.mark.parametrize("contract", [PHOTOS[4], pytest.param(INKS[0], marks=pytest.mark.slow)], ids=str)
def test_the_file_does_what_the_stages_do_with_real_files(contract: Contract, shared: Path, tmp_path: Path) -> None:
    module = joined(contract, tmp_path)
    files = [PROJECT / "tests/turned.heic", *(shared / "datasets/awkward").iterdir()]
    files += sorted((shared / "datasets").glob("own_digits/*/*"))[::10] if contract.form == "ink" else []
    files += sorted((shared / "datasets").glob("cats_dogs/*/*"))[::100] if contract.form == "photo" else []
    outcomes = set()
    for path in files:
        data = path.read_bytes()
        expected = result(lambda data: load(data, contract), BadImage, data)
        assert result(module.load, module.BadImage, data) == expected, path.name
        outcomes.add(bool(expected[1]))
    assert outcomes == {True, False}


def test_heic_is_optional_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    module = joined(PHOTOS[0], tmp_path)
    with pytest.raises(module.BadImage, match="a HEIC photograph, which needs `pip install pi-heif`; or export it as"):
        module.load((PROJECT / "tests/turned.heic").read_bytes())


@pytest.mark.parametrize("contract", [PHOTOS[0], INKS[0]], ids=["photo", "ink"])
def test_the_file_is_clean_code_for_its_form_alone(contract: Contract, tmp_path: Path) -> None:
    joined(contract, tmp_path)
    text = (tmp_path / "preprocess.py").read_text(encoding="utf-8")
    assert ("scipy" in text, "normalize_ink" in text) == (contract.form == "ink",) * 2
    assert "map_in_threads" not in text
    run("ruff", "check", "--no-cache", "--config", "pyproject.toml", str(tmp_path), cwd=PROJECT)
    run("ruff", "format", "--check", "--no-cache", "--config", "pyproject.toml", str(tmp_path), cwd=PROJECT)


def test_the_command_writes_the_pixels(tmp_path: Path) -> None:
    joined(PHOTOS[1], tmp_path)
    for name in ("photo.png", "page"):
        (tmp_path / name).write_bytes(drawn()[name])
    run("sh", "-c", "python preprocess.py photo.png photo.png > pixels.bin", cwd=tmp_path)
    assert (tmp_path / "pixels.bin").read_bytes() == load(drawn()["photo.png"], PHOTOS[1]).tobytes() * 2
    said = run("python", "preprocess.py", "page", cwd=tmp_path, fails=True)
    assert said == "page: not an image but a web page, perhaps an answer in place of a download\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import requests\n", "expected imports of the standard library, numpy, pillow, scipy; received ['requests']"),
        ("_values = 1\n", "expected names that only one of the joined modules defines, received ['_values']"),
    ],
)
def test_what_the_file_could_not_have_is_noticed(here: Path, line: str, said: str) -> None:
    path = here / "stages/images/load.py"
    head, mark, rest = path.read_text().partition("_OVERSAMPLING = ")
    name = line.split()[1 if line.startswith("import") else 0]
    used = rest.replace("    return make_pixels(decode_for", f"    assert {name}\n    return make_pixels(decode_for")
    path.write_text(f"{head}{line}{mark}{used}")
    code = (
        "from stages.formats.preprocessing import join_preprocessing\nfrom stages.images.contract import Contract\n"
        "join_preprocessing(Contract(8, 1, 'photo', 'light_on_dark', 'pad'), {'numpy': '', 'pillow': ''})"
    )
    assert said in run("python", "-c", code, cwd=here, fails=True, PYTHONPATH=str(here))
