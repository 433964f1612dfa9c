"""layers: what is frozen and what it costs, before anything has run."""

import json
import math
import re
import shutil
from pathlib import Path

import keras
import pytest

from stages.backbones.registry import BACKBONES
from stages.compute.networks import build_head, build_trainable_part
from stages.compute.trainable import freeze_layers
from stages.schema.finetune import Head
from stages.tools import layers
from stages.transfer.costs import Images, describe_disk_usage
from stages.transfer.freeze import resolve_depths, resolve_freeze
from stages.transfer.network_summary import format_layers, summarize_network
from tests.helpers.copies import set_params
from tests.helpers.miniature import as_backbone, miniature
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
    assert lines[ruler + 1] == "block_13"
    assert lines[ruler + 2].split()[:2] == ["116", "block_13_expand"]
    assert all(line.endswith("frozen") for line in lines[1:ruler] if line.startswith("  "))
    text = "\n".join(lines)
    assert "frozen      116 layers" in text
    assert "stored: the output of block_12_add, 6 x 6 x 32 float32" in text
    size = 6 * 6 * 32 * 4
    # 2 classes: 16 training images in 3 views, and 8 validation images
    assert "\nimages: 16 for training, in 3 views each; 8 for validation; test images unknown until `dvc repro" in text
    assert f"{size:,} bytes per view, {size * 56 / 1e3:.3g} kB in all" in text
    assert "inference" in text
    set_params(here, {"split": {"test": 5}})
    text = shown(monkeypatch, capsys, "--freeze", "block_13")
    tested = size + 4 * 1280
    assert f"{tested:,} bytes per image, {tested * 10 / 1e3:.3g} kB in all\n" in text
    assert text.endswith(f"on disk: {tested * 66 / 1e3:.3g} kB\n")
    set_params(here, {"extract": {"precision": "float16"}, "finetune": {"thawed": {"batchnorm": "train"}}})
    text = shown(monkeypatch, capsys, "--freeze", "-3")
    assert f"{3 * 3 * 112 * 2:,} bytes per view, " in text
    assert f"test images, in float32 except pixels: {(3 * 3 * 112 + 1280) * 4:,} bytes per image, " in text
    assert "inference" not in text


def test_all_depths_are_counted(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    depths = ["block_16", "all", "none", "block_13"]
    set_params(here, {"extract": {"freeze": "block_13", "depths": depths}, "finetune": {"thawed": {"freeze": "none"}}})
    text = shown(monkeypatch, capsys)
    assert "mobilenet_v2_035 at 96 px, finetune.thawed.freeze: none\nfrozen        0 layers" in text
    sizes = [6 * 6 * 32 * 4, 3 * 3 * 56 * 4, 96 * 96 * 3]
    places = [text.index(f"      {size:,} bytes per view, ") for size in sizes]
    assert places == sorted(places)
    assert [line.split(", ")[0] for line in text.splitlines() if line.startswith("stored:")] == [
        "stored: the output of block_12_add",
        "stored: the output of block_15_add",
        "stored: the pixels",
    ]
    assert f"total: {sum(sizes) + 4 * 1280:,} bytes per view, " in text
    assert f"except pixels: {sum(sizes) + 4 * 1280:,} bytes per image\n" in text


def test_the_split_is_counted_once_it_is_there(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "data" / "split").mkdir()
    counts = {"images": {"train": 1000, "val": 200, "test": 5}}
    (here / "data" / "split" / "summary.json").write_text(json.dumps(counts))
    set_params(here, {"split": {"train": 0.5}})
    text = shown(monkeypatch, capsys)
    assert "1,000 for training, in 3 views each; 200 for validation; 5 for testing (as in the last split)" in text


def test_the_rest_is_counted_where_the_last_split_is_that_of_params(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "data" / "split").mkdir()
    set_params(here, {"split": {"test": "rest"}})
    for train, known in ((16, True), (14, False)):
        counts = {"images": {"train": train, "val": 8, "test": 7}}
        (here / "data" / "split" / "summary.json").write_text(json.dumps(counts))
        assert ("; 7 for testing (as params.yaml says)" in shown(monkeypatch, capsys)) == known


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
    assert "images: 16 for training, in 3 views each; 8 for validation; " in shown(monkeypatch, capsys)


def test_counts_that_are_not_known_yet_are_left_open(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_params(here, {"split": {"train": 0.5}})
    assert "images: unknown until `dvc repro split`\n" in shown(monkeypatch, capsys)


def test_pixels_are_kept_where_nothing_is_frozen(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(monkeypatch, capsys, "--freeze", "none")
    assert "stored: the pixels, 96 x 96 x 3 uint8" in text
    assert f"{96 * 96 * 3:,} bytes per view, " in text
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
    lines = list(describe_disk_usage(architecture, depths, "average", "float32", Images(1000, 0, 100, 0, "as known")))
    assert lines[0] == "images: 1,000 for training; 100 for testing (as known)"
    assert "pixels, 96 x 96 x 3 uint8" in lines[1]
    assert lines[2].strip() == "27,648 bytes per image, 27.6 MB in all"
    tested = 4 * (6 * 6 * 32 + 1280)  # extract_test runs the frozen part all the same
    assert lines[3].endswith(f": {tested:,} bytes per image, {tested * 100 / 1e3:.3g} kB in all")
    assert lines[4:] == [f"on disk: {(27_648 * 1000 + tested * 100) / 1e6:.3g} MB"]


HEAD = {"solver": "gradient", "initial": "new", "dropout": 0.5, "output": "softmax", "epochs": 1, "learning_rate": 0.1}
BLOCKS = {"stem": "stem_conv", "block1": "block1_conv", "block2": "block2_conv"}
STATE = re.compile(r"([\d,]+) +(frozen|thawed|inference|trained)$")


@pytest.mark.parametrize("freeze", ["all", "none", -2, "block2"])
@pytest.mark.parametrize("train_batchnorm", [False, True])
@pytest.mark.parametrize(("hidden", "batchnorm"), [([], False), ([8, 4], True)])
def test_the_counts_are_those_of_the_network_that_trains(
    freeze: int | str, train_batchnorm: bool, hidden: list[int], batchnorm: bool
) -> None:
    backbone = as_backbone(miniature(), blocks=BLOCKS)
    depth = resolve_freeze(backbone.architecture, freeze)
    params = Head(**HEAD, hidden=hidden, batchnorm=batchnorm)
    summary = summarize_network(backbone.architecture, backbone, "average", params, 3, depth.frozen, train_batchnorm)

    other = as_backbone(miniature(), blocks=BLOCKS)
    head = build_head(12, classes=3, hidden=hidden, dropout=0.5, batchnorm=batchnorm)
    freeze_layers(other.model, depth.frozen, train_batchnorm)
    parts = (head, head if freeze == "all" else build_trainable_part(other, depth.layer, "average", head))
    assert summary.trainable == tuple(
        sum(math.prod(weight.shape) for weight in part.trainable_weights) for part in parts
    )
    assert summary.total == other.model.count_params() + head.count_params()
    lines = format_layers(backbone.architecture, depth.frozen, train_batchnorm, summary)
    shown = [int(found[1].replace(",", "")) for found in map(STATE.search, lines) if found]
    assert sum(shown) == summary.total


def test_the_head_follows_the_backbone(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    head = {"hidden": [8], "dropout": 0.5, "batchnorm": True}
    set_params(here, {"pretrain": {"backbone": "three_conv_cnn", "image_size": 32}, "finetune": {"head": head}})
    text = shown(monkeypatch, capsys, "--freeze", "block3")
    end = [line.split() for line in text[text.index("── pooling and head") :].splitlines()[1:6]]
    assert end == [
        ["pooling_average", "GlobalAveragePooling2D", "128", "0"],
        ["head_dense_1", "Dense", "8", "1,032", "trained"],
        ["head_batchnorm_1", "BatchNormalization", "8", "32", "trained"],
        ["head_dropout_1", "Dropout", "8", "0", "trained"],
        ["classifier", "Dense", "2", "18", "trained"],
    ]
    totals = [line.split()[2:] for line in text.splitlines() if re.match("(trainable|frozen|total) parameters", line)]
    assert totals == [["1,066", "74,922"], ["93,264", "19,408"], ["94,330", "94,330"]]
    shutil.rmtree("data/own/bars")
    text = shown(monkeypatch, capsys, "--freeze", "block3")
    assert re.search(r"classifier +Dense +n +9 x n +trained", text)
    assert re.search(
        r"total parameters +94,312 \+ 9 x n +94,312 \+ 9 x n\nn: the number of classes, which is unk", text
    )


@pytest.mark.parametrize("backbone", ["mobilenet_v2_035", pytest.param("nasnet_mobile", marks=pytest.mark.slow)])
def test_the_table_fits_the_terminal(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], backbone: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    set_params(here, {"pretrain": {"backbone": backbone}, "extract": {"freeze": "all"}})
    text = shown(monkeypatch, capsys)
    table = text[: text.index("\n\n")].splitlines()
    assert max(map(len, table)) <= 80
    assert {len(line.split()) for line in table if line.endswith("frozen")} == {6}


@pytest.mark.parametrize(("initial", "state"), [("new", "replaced"), ("source", "reused")])
def test_the_classifier_of_a_whole_network_is_counted(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], initial: str, state: str
) -> None:
    model = miniature(channels=3)
    pooled = keras.layers.GlobalAveragePooling2D(name="gap")(model.output)
    output = keras.layers.Dense(4, activation="softmax", name="top")(keras.layers.Dropout(0.1, name="drop")(pooled))
    keras.Model(model.input, output).save("data/own/whole.keras")
    source = {"source": "data/own/whole.keras", "backbone": "source", "pixels": "0-1", "image_size": 16}
    set_params(here, {"pretrain": source, "finetune": {"head": {"initial": initial}}})
    lines = shown(monkeypatch, capsys, "--freeze", "-3").splitlines()
    own = next(number for number, line in enumerate(lines) if "original classifier" in line)
    assert lines[own - 1].split()[:2] == ["11", "gap"]
    assert lines[own - 1].split()[-1] == "thawed"
    assert [line.split() for line in lines[own + 1 : own + 3]] == [
        ["12", "drop", "Dropout", "12", "0", "replaced"],
        ["13", "top", "Dense", "4", "52", state],
    ]
    assert "pooling and head" in lines[own + 3]
    assert lines[own + 4].split() == ["classifier", "Dense", "2", "26", "trained"]
