"""Images of more than 8 bits: one range for a whole data set, found in what trains, and the same pixels everywhere."""

import io
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from stages import pretrain, split
from stages.backbones.leakage import find_learned
from stages.backbones.pretraining_data import read_pixels
from stages.base.params import UserError, read_yaml, validate
from stages.formats.card import Card, read_card, write_card
from stages.images.bit_depth import Extent, encode_values, find_range, format_range, is_deep, measure_extent
from stages.images.contract import Contract, Range
from stages.images.decode import decode, read_image
from stages.images.load import load
from stages.images.split_file import SplitFile
from stages.images.thumbnail import make_thumbnail
from stages.schema.split import Split
from stages.sources.data_set import Sample
from stages.splitting.examine import ExaminedImage, examine, hash_picture
from tests.conftest import PROJECT
from tests.helpers.copies import set_params
from tests.helpers.small import small_project

Project = Callable[..., Path]
PLAIN = Contract(16, 1, "photo", "light_on_dark", "stretch")


def encode(values: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind, **options)
    return buffer.getvalue()


def noise(seed: int, low: int, high: int, side: int = 16) -> np.ndarray:
    """Whole numbers from low to high, both of which are there."""
    values = np.random.default_rng(seed).integers(low, high + 1, (side, side))
    values[0, :2] = low, high
    return values


def fill(folder: Path, low: int, high: int, count: int = 6, kind: type = np.uint16, start: int = 0) -> None:
    """Two classes of ``count`` images of noise."""
    for number, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for image in range(start, start + count):
            values = noise(1000 * number + image, low, high).astype(kind)
            (folder / name / f"{image:02d}.tif").write_bytes(encode(values, "TIFF"))


@pytest.fixture
def project_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project folder with these choices in the section split, to work in; returns its data set's folder."""

    def make(**choices: object) -> Path:
        default = (PROJECT / "recipes" / "default.yaml").read_text(encoding="utf-8")
        (tmp_path / "params.yaml").write_text(default, encoding="utf-8")
        plain = {"source": "data/own/set", "form": "photo", "polarity": "light_on_dark", "train": 2, "val": 1}
        set_params(tmp_path, {"split": plain | choices})
        monkeypatch.chdir(tmp_path)
        folder = tmp_path / "data" / "own" / "set"
        folder.mkdir(parents=True)
        return folder

    return make


def found() -> Range | None:
    """The range that is packed with the splits, the same for all of them."""
    readings = [SplitFile(Path(f"data/split/{name}.parquet")).reading for name in ("train", "val", "test")]
    assert readings[0] == readings[1] == readings[2]
    return Contract(16, 1, **readings[0]).range


@pytest.mark.parametrize(
    ("low", "high", "kind", "expected", "said"),
    [
        (0, 4095, np.uint16, (0, 4095), "range: 0 to 4095 (12 bits), of 4 training images of more than 8 bits"),
        (0, 100, np.uint16, (0, 127), "range: 0 to 127 (7 bits), of 4"),
        (0, 4096, np.uint16, (0, 8191), "(13 bits)"),
        (0, 65535, np.uint16, (0, 65535), "(16 bits)"),
        (-1000, 3000, np.int32, (-1024, 4095), "range: -1024 to 4095, of 4"),
        (0, 2**20, np.int32, (0, 2**21 - 1), "(21 bits)"),
        (0, 1, np.float32, (0, 1), "range: 0 to 1, of 4"),
        (0, 200, np.float32, (0, 255), "(8 bits)"),
        (-3, 1, np.float32, (-4, 1), "range: -4 to 1, of 4"),
    ],
)
def test_auto_finds_what_the_training_images_use(
    project_with: Project,
    capsys: pytest.CaptureFixture[str],
    low: int,
    high: int,
    kind: type,
    expected: Range,
    said: str,
) -> None:
    fill(project_with(), low, high, kind=kind)
    split.main()
    assert found() == expected
    output = capsys.readouterr().out
    assert said in output
    assert "2 classes, 12 images: train 4, val 2, test 6" in output, "none is a duplicate of another"
    assert "beyond" not in output


def test_what_only_test_images_hold_is_no_guide(project_with: Project, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project_with(parts={"train": "a", "test": "b"})
    fill(folder / "a", 0, 4095)
    fill(folder / "b", 0, 60000, 3, start=50)
    split.main()
    assert found() == (0, 4095)
    assert "6 of 12 images of more than 8 bits have values outside it" in capsys.readouterr().out


def test_where_training_images_have_8_bits_others_are_read_as_full(
    project_with: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project_with(parts={"train": "a", "test": "b"})
    fill(folder / "a", 0, 255, kind=np.uint8)
    fill(folder / "b", 0, 4000, 3, start=50)
    split.main()
    assert found() is None
    said = capsys.readouterr().out
    assert "range: 0 to 65535 (floating point: 0 to 1), no training image has more than 8 bits" in said
    assert "beyond" not in said


@pytest.mark.parametrize(
    ("asked", "expected", "beyond"),
    [("full", None, ""), ([0, 2000], (0, 2000), "12 of 12 images of more than 8 bits have values outside it")],
)
def test_a_range_may_be_given(
    project_with: Project, capsys: pytest.CaptureFixture[str], asked: object, expected: Range | None, beyond: str
) -> None:
    fill(project_with(range=asked), 0, 4095)
    split.main()
    assert found() == expected
    said = capsys.readouterr().out
    assert f"range: {format_range(expected)}, as split.range says" in said
    assert beyond in said
    assert ("have values outside it" in said) == bool(beyond)


def test_nothing_is_said_of_8_bit_images(project_with: Project, capsys: pytest.CaptureFixture[str]) -> None:
    fill(project_with(), 0, 255, kind=np.uint8)
    split.main()
    assert found() is None
    assert "range" not in capsys.readouterr().out


def default() -> dict[str, object]:
    return dict(read_yaml(PROJECT / "recipes" / "default.yaml")["split"])


@pytest.mark.parametrize(
    "wrong",
    ["none", [0], [1, 0], [5, 5], [0, 1, 2], [0, "x"], [False, 1], [0, float("inf")], 3, True, None, {"low": 0}],
)
def test_a_wrong_range_is_one_message(wrong: object) -> None:
    with pytest.raises(UserError, match=r"split\.range: expected auto, full, or two numbers") as error:
        validate(default() | {"range": wrong}, "split", Split)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("values", [[0, 0.5], [-160, 240], "auto", "full"])
def test_right_ranges_are_taken(values: object) -> None:
    assert validate(default() | {"range": values}, "split", Split).range == values


def test_values_are_spread_over_the_range_and_clipped() -> None:
    values = np.array([[-50, 0, 1, 2048, 4095, 5000]], np.int32)
    assert np.asarray(decode(encode(values, "TIFF"), values=(0, 4095))).tolist() == [[0, 0, 0, 128, 255, 255]]
    assert np.asarray(decode(encode(values, "TIFF"), values=(-1024, 4095)))[0, 1] == 51
    gray = np.array([[0, 100, 255]], np.uint8)
    assert np.asarray(decode(encode(gray), values=(0, 100))).tolist() == gray.tolist(), "8 bits stay as they are"


def test_transparent_values_are_white_and_no_part_of_the_extent() -> None:
    data = encode(np.array([[65535, 0, 100]], np.uint16), transparency=65535)
    image = read_image(data)
    assert measure_extent(image) == Extent(0, 100, False)
    assert np.asarray(decode(data, values=(0, 100))).tolist() == [[255, 0, 255]]


def examined(*files: bytes, **options: bool) -> list[ExaminedImage]:
    samples = [Sample(f"a/{number}", "a", None, lambda data=data: data) for number, data in enumerate(files)]  # type: ignore[misc]
    results = list(examine(samples, **options))
    assert all(isinstance(result, ExaminedImage) for result in results)
    return results  # type: ignore[return-value]


def test_pictures_are_told_apart_by_all_their_bits_whatever_the_kind_of_file() -> None:
    values = noise(1, 0, 100)
    other = values + (values == 50)  # the same in 8 bits
    same = [encode(values.astype(kind), file) for kind, file in ((np.uint16, "PNG"), (np.uint16, "TIFF"))]
    same += [encode(values.astype(kind), "TIFF") for kind in (np.int32, np.float32)]
    first, *others, different = examined(*same, encode(other.astype(np.uint16)))
    assert {image.pixels for image in others} == {first.pixels}
    assert different.pixels != first.pixels


def test_8_bit_pictures_keep_their_hash_also_widened_to_16() -> None:
    values = noise(2, 0, 255).astype(np.uint8)
    narrow, wide, exact_16 = examined(
        encode(values), encode(values.astype(np.uint16) * 257), encode(values.astype(np.uint16) * 257 + 1)
    )
    assert narrow.pixels == wide.pixels != exact_16.pixels
    # As it was before there was a range: nobody's images change splits.
    assert examined(encode(np.arange(12, dtype=np.uint8).reshape(3, 4)))[0].pixels == (
        "40b95a9b72917f980fab2e9b3842167fcf015645fd363d28ad26d5307efd2ef3"
    )
    image = read_image(encode(values.astype(np.uint16) * 257))
    assert is_deep(image)
    assert encode_values(image) is None


def test_near_duplicates_are_found_in_dim_16_bit_images(project_with: Project) -> None:
    y, x = np.mgrid[:64, :64] / 64
    picture = 60 * (1 + np.sin(7 * x + 3 * y) * np.cos(5 * y - 2 * x))
    as_8 = hash_picture(Image.fromarray((picture * 2).astype(np.uint8)))
    dim, blank = examined(encode(picture.astype(np.uint16)), encode(np.zeros((9, 9), np.uint16)), near=True)
    assert dim.picture
    assert sum((one ^ other).bit_count() for one, other in zip(as_8, dim.picture, strict=True)) <= 4
    assert blank.picture
    folder = project_with(near_duplicates="drop", train=1, val=0, test=1)
    fill(folder, 0, 100, 3)
    picture[0, 0] += 1
    for number in range(3):
        (folder / "cat" / f"near{number}.png").write_bytes(encode((picture + number).astype(np.uint16)))
    split.main()
    assert len(pd.read_parquet("data/split/near_duplicates.parquet")) == 3
    shown = pd.read_parquet("data/split/near_duplicates.parquet")["picture"][0]
    assert np.asarray(Image.open(io.BytesIO(shown))).max() > 200


def test_one_range_reaches_pixels_pictures_and_the_card(tmp_path: Path) -> None:
    data = encode(noise(3, 0, 4095).astype(np.uint16))
    contract = replace(PLAIN, range=(0, 4095))
    pixels = load(data, contract)
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert load(data, PLAIN).max() == 16
    assert np.asarray(Image.open(io.BytesIO(make_thumbnail(data, contract.range)))).max() == 255
    write_card(tmp_path, Card(["a", "b"], contract, ["onnx"]))
    assert read_card(tmp_path).contract == contract
    content = json.loads((tmp_path / "model.json").read_text())
    assert content["contract"]["range"] == [0, 4095]
    del content["contract"]["range"]  # as exported before
    (tmp_path / "model.json").write_text(json.dumps(content))
    assert read_card(tmp_path).contract == PLAIN
    for wrong in ([0], [1, 0], "full", 7, [0, None]):
        content["contract"]["range"] = wrong
        (tmp_path / "model.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match="expected classes, contract and formats"):
            read_card(tmp_path)


def written(seed: int, ink: int, paper: int) -> np.ndarray:
    """A stroke of a pen on paper, of 12 bits or so."""
    draw = np.random.default_rng(seed)
    image = Image.new("L", (96, 96), 0)
    ImageDraw.Draw(image).line([tuple(draw.integers(20, 76, 2).tolist()) for _ in range(4)], fill=255, width=6)
    stroke = np.asarray(image) / 255
    return (paper - (paper - ink) * stroke + draw.integers(0, max(2, paper // 60), stroke.shape)).astype(np.uint16)


def test_handwriting_is_looked_for_in_the_range_that_is_found(
    project_with: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project_with(form="ink", polarity="dark_on_light", max_rejects=0.5, test=2)
    for number, name in enumerate(("one", "two")):
        (folder / name).mkdir()
        for image in range(6):
            bright = image != 3  # of one the light is lost in a range of 12 bits
            values = written(10 * number + image, 500 if bright else 2, 3000 if bright else 6)
            (folder / name / f"{image}.png").write_bytes(encode(values))
    split.main()
    assert found() == (0, 4095)
    said = capsys.readouterr().out
    assert "left out: 2 unreadable" in said
    rejects = Path("data/split/rejects.csv").read_text()
    assert rejects.count("no handwriting found") == 2
    assert "one/3.png" in rejects
    contract = Contract(28, 1, **SplitFile(Path("data/split/train.parquet")).reading)
    for name in ("train", "val", "test"):
        for data in SplitFile(Path(f"data/split/{name}.parquet")).images():
            assert load(data, contract).max() > 200
    assert json.loads(Path("data/split/summary.json").read_text())["rejects"] == 2


def test_pretrain_finds_a_range_of_its_own_and_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "source", 0, 4095, 12)
    fill(tmp_path / "source", 0, 255, 12, np.uint8, start=50)
    images = read_pixels(tmp_path / "source", PLAIN, tmp_path / "pixels.npy")
    assert images.contract == replace(PLAIN, range=(0, 4095))
    assert "range: 0 to 4095 (12 bits), of 24 images of more than 8 bits" in capsys.readouterr().out
    files = sorted((tmp_path / "source").rglob("*.tif"))
    expected = np.stack([load(file.read_bytes(), images.contract) for file in files])
    assert (images.rows[np.arange(48)] == expected).all()
    assert len(images.train) + len(images.test) == 48
    assert images.unreadable == 0


def test_images_that_were_learned_are_found_in_the_range_they_were_learned_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_project(tmp_path, monkeypatch, {"pretrain": {"source": "data/own/deep", "epochs": 1}})
    fill(folder / "data" / "own" / "deep", 0, 4095, 20)
    pretrain.main()
    files = [file.read_bytes() for file in sorted((folder / "data" / "own" / "deep").rglob("*.tif"))]
    other = encode(noise(99_999, 0, 4095).astype(np.uint16))
    known = find_learned(Path("data/pretrain/learned.npz"), [*files, other])
    assert len(known) == 36  # all but the tenth that was held back
    assert 40 not in known


def test_a_contract_survives_json_and_older_ones_are_read() -> None:
    contract = replace(PLAIN, range=(-1024, 4095))
    assert Contract(**json.loads(json.dumps(asdict(contract)))) == contract
    older = asdict(PLAIN)
    del older["range"]
    assert Contract(**older) == PLAIN


def test_no_images_have_no_range() -> None:
    assert find_range([]) is None
    assert find_range([Extent(0, 0, False)]) == (0, 1)
