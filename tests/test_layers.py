"""layers: what is frozen and what it costs, before anything has run."""

import json
import shutil
from pathlib import Path

import pytest

from stages.backbones.registry import BACKBONES
from stages.tools import layers
from stages.transfer.costs import Images, describe_disk_usage
from stages.transfer.freeze import resolve_depths
from tests.helpers.copies import set_params
from tests.helpers.small import small_project

SMALLEST = {"backbone": "mnist_cnn", "image_size": 28}


def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr("sys.argv", ["layers", *arguments])
    layers.main()
    return capsys.readouterr().out


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    changes = {
        "split": {"source": "data/own/bars", "train": 8, "val": 4},
        "pretrain": {"backbone": "mobilenet_v2_035", "image_size": 96},
        "extract": {"views": 3},
    }
    return small_project(tmp_path, monkeypatch, changes)


def test_states_totals_and_cost_of_a_block(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(monkeypatch, capsys, "--freeze", "block_13").splitlines()
    ruler = next(number for number, line in enumerate(lines) if "thawed from here on" in line)
    assert lines[ruler - 1].split()[:2] == ["115", "block_12_add"]
    assert lines[ruler + 1].split()[:3] == ["116", "block_13", "block_13_expand"]
    assert all(line.endswith("frozen") for line in lines[1:ruler])
    text = "\n".join(lines)
    assert "frozen      116 layers" in text
    assert "stored: the output of block_12_add, 6 x 6 x 32 float32" in text
    size = 6 * 6 * 32 * 4
    # 2 classes: 16 training images in 3 views, and 8 validation images
    counted = "(16 training x 3 views + 8 validation images by params.yaml)"
    assert f"{size:,} bytes per image x {counted} = {size * 56 / 1e3:.3g} kB" in text
    assert "inference" in text
    assert text.endswith("(their number is unknown until `dvc repro split`)")
    set_params(here, {"split": {"test": 5}})
    text = shown(monkeypatch, capsys, "--freeze", "block_13")
    tested = size + 4 * 1280
    assert f"{tested:,} bytes per image x 10 = {tested * 10 / 1e3:.3g} kB\n" in text
    assert text.endswith(f"on disk: {tested * 66 / 1e3:.3g} kB\n")
    set_params(here, {"extract": {"precision": "float16"}, "finetune": {"thawed": {"batchnorm": "train"}}})
    text = shown(monkeypatch, capsys, "--freeze", "-3")
    assert f"{3 * 3 * 112 * 2:,} bytes per image x" in text
    assert f"test images, all in float32 but pixels: {(3 * 3 * 112 + 1280) * 4:,} bytes per image x 10" in text
    assert "inference" not in text


def test_all_depths_are_counted(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    depths = ["block_16", "all", "none", "block_13"]
    set_params(here, {"extract": {"freeze": "block_13", "depths": depths}, "finetune": {"thawed": {"freeze": "none"}}})
    text = shown(monkeypatch, capsys)
    assert "mobilenet_v2_035 at 96 px, finetune.thawed.freeze: none\nfrozen        0 layers" in text
    sizes = [6 * 6 * 32 * 4, 3 * 3 * 56 * 4, 96 * 96 * 3]
    places = [text.index(f"      {size:,} bytes per image x") for size in sizes]
    assert places == sorted(places)
    assert [line.split(", ")[0] for line in text.splitlines() if line.startswith("stored:")] == [
        "stored: the output of block_12_add",
        "stored: the output of block_15_add",
        "stored: the pixels",
    ]
    assert f"total: {sum(sizes) + 4 * 1280:,} bytes per image x" in text
    assert f"but pixels: {sum(sizes) + 4 * 1280:,} bytes per image (their" in text


def test_the_split_is_counted_once_it_is_there(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "data" / "split").mkdir()
    counts = {"images": {"train": 1000, "val": 200, "test": 5}}
    (here / "data" / "split" / "summary.json").write_text(json.dumps(counts))
    set_params(here, {"split": {"train": 0.5}})
    text = shown(monkeypatch, capsys)
    assert "(1,000 training x 3 views + 200 validation images as split last)" in text
    assert " bytes per image x 5 = " in text


def test_the_rest_is_counted_where_the_last_split_is_that_of_params(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "data" / "split").mkdir()
    set_params(here, {"split": {"test": "rest"}})
    for train, known in ((16, True), (14, False)):
        counts = {"images": {"train": train, "val": 8, "test": 7}}
        (here / "data" / "split" / "summary.json").write_text(json.dumps(counts))
        assert (" bytes per image x 7 = " in shown(monkeypatch, capsys)) == known


@pytest.mark.parametrize("layout", ["bars", "wrapped", "divided", "packed.zip", "listed"])
def test_classes_are_counted_as_split_counts_them(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    own, source = Path("data/own"), f"data/own/{layout}"
    (own / "bars" / ".hidden").mkdir()
    if layout == "wrapped":
        shutil.copytree(own / "bars", own / layout / "bars")
    if layout == "divided":
        for part in ("train", "test"):
            shutil.copytree(own / "bars", own / layout / part)
    if layout == "packed.zip":
        shutil.make_archive(str(own / "packed"), "zip", own, "bars")
    classes = ["upright", "across"] if layout == "listed" else "all"  # listed: before anything is fetched
    set_params(here, {"split": {"source": source, "classes": classes}, "pretrain": SMALLEST})
    assert "(16 training x 3 views + 8 validation images by params.yaml)" in shown(monkeypatch, capsys)


def test_counts_that_are_not_known_yet_are_left_open(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_params(here, {"split": {"train": 0.5}})
    assert "bytes per image and view, 3 views (the number of images" in shown(monkeypatch, capsys)


def test_pixels_are_kept_where_nothing_is_frozen(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(monkeypatch, capsys, "--freeze", "none")
    assert "stored: the pixels, 96 x 96 x 3 uint8" in text
    assert f"{96 * 96 * 3:,} bytes per image x" in text
    text = shown(monkeypatch, capsys, "--freeze", "all")
    assert "stored: only the features" in text


def test_a_block_that_does_not_exist_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["layers", "--freeze", "blok_13"])
    with pytest.raises(SystemExit):
        layers.main()
    error = capsys.readouterr().err
    assert "blocks: Conv1, expanded_conv, block_1" in error
    assert "Did you mean block_13" in error


def test_pixels_are_kept_once_where_views_are_drawn_afresh() -> None:
    architecture = BACKBONES["mobilenet_v2_035"].build(96).architecture
    depths = resolve_depths(architecture, "block_13", [])
    lines = list(describe_disk_usage(architecture, depths, "average", "float32", Images(1000, 200, 100, 0, "in all")))
    assert "pixels, 96 x 96 x 3 uint8" in lines[0]
    assert lines[1].strip() == "27,648 bytes per image x (1,000 training + 200 validation images in all) = 33.2 MB"
    tested = 4 * (6 * 6 * 32 + 1280)  # extract_test runs the frozen part all the same
    assert lines[2].endswith(f": {tested:,} bytes per image x 100 = {tested * 100 / 1e3:.3g} kB")
    assert lines[3:] == [f"on disk: {(27_648 * 1200 + tested * 100) / 1e6:.3g} MB"]
