"""The table of backbones: every network of keras.applications, as Keras builds it, by names that never change."""

import inspect
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.utils import file_utils

from stages.backbones.pretrained import Pretrained, read_pretrained, write_pretrained
from stages.backbones.profiles import NOT_STATED, PROFILES
from stages.backbones.registry import BACKBONES, BackboneSpec, find_backbone, weights_item
from stages.backbones.weights import load_published
from stages.base.errors import UserError
from stages.compute.architecture import read_architecture
from stages.compute.networks import pool, preprocess
from stages.downloads.catalog import DownloadItem, read_entry
from stages.tools import backbones
from stages.transfer.freeze import resolve_freeze
from tests.conftest import PROJECT
from tests.helpers.families import FAMILIES, QUICK, mark_by_size
from tests.helpers.published import vary, write_published

REPRESENTATIVES = mark_by_size(FAMILIES)
ROWS = [pytest.param(name, marks=[] if name in (*QUICK, "mnist_cnn") else pytest.mark.exhaustive) for name in BACKBONES]
CONSTRUCTORS = {
    name for name, item in vars(keras.applications).items() if name[0].isupper() and inspect.isfunction(item)
}


def options(row: BackboneSpec) -> dict[str, Any]:
    return {} if row.alpha is None else {"alpha": row.alpha}


def test_every_network_of_keras_is_in_the_table() -> None:
    assert len(CONSTRUCTORS) >= 40
    assert {row.constructor for row in BACKBONES.values() if not row.own} == CONSTRUCTORS
    assert [row.alpha for row in BACKBONES.values() if row.constructor == "MobileNet"] == [1.0, 0.75, 0.5, 0.25]
    widths = sorted(row.alpha or 0 for row in BACKBONES.values() if row.constructor == "MobileNetV2")
    assert widths == [0.35, 0.5, 0.75, 1.0, 1.3, 1.4]


@pytest.mark.filterwarnings("ignore:.*input_shape. is undefined")  # Keras of sides its weights were not made for
@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_what_keras_builds_and_publishes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = BACKBONES[name]
    backbone = row.build(row.native).model
    assert backbone.count_params() == row.parameters
    if row.own:
        return
    asked: list[tuple[str, str | None]] = []
    monkeypatch.setattr(file_utils, "get_file", lambda _, url, **given: asked.append((url, given.get("file_hash"))))
    monkeypatch.setattr(keras.Model, "load_weights", lambda *_: None)
    published = getattr(keras.applications, row.constructor)(
        include_top=False, weights="imagenet", input_shape=(row.smallest, row.smallest, 3), **options(row)
    )
    assert published.count_params() == row.parameters  # so that the weights fit at any size
    assert len(backbone.layers) == len(published.layers)  # so that counts mean the same layers
    kinds = [[type(layer) for layer in network.layers] for network in (backbone, published)]
    assert kinds[0][4:] == kinds[1][4:]
    [(url, checksum)] = asked
    entry = read_entry(PROJECT / "stages/downloads/catalog.yaml", weights_item(name))
    assert isinstance(entry, DownloadItem)
    [file] = entry.files
    assert (file.urls, file.name) == ([url], url.rsplit("/", 1)[1])
    if checksum is not None:
        assert file.hash == f"{'md5' if len(checksum) == 32 else 'sha256'}:{checksum}"


@pytest.mark.filterwarnings("ignore:.*input_shape. is undefined")  # Keras of sides its weights were not made for
@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_raw_pixels_and_published_weights_give_what_keras_gives(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Preprocessing and weights together, against Keras's own way with both."""
    row = BACKBONES[name]
    if row.own:
        return
    side, file = max(row.smallest, 64), tmp_path / "weights.h5"
    keras.utils.set_random_seed(0)
    constructor = getattr(keras.applications, row.constructor)
    shape = {"include_top": False, "input_shape": (side, side, 3), **options(row)}
    other = constructor(weights=None, **shape)
    vary(other)
    write_published(other.layers, file)
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(file))
    published = constructor(weights="imagenet", **shape)
    module = inspect.getmodule(inspect.unwrap(constructor))
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype("float32")
    expected = published.predict_on_batch(module.preprocess_input(images.copy()))  # type: ignore[union-attr]
    backbone = row.build(side).model
    load_published(backbone, file)
    ours = keras.Model(pixels := keras.Input((side, side, 3)), backbone(preprocess(pixels, row.preprocessing)))
    assert np.std(expected) > 0
    np.testing.assert_allclose(ours.predict_on_batch(images), expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["mobilenet_025", "inception_v3", "xception"])
def test_names_do_not_depend_on_what_was_built_before(name: str) -> None:
    row = BACKBONES[name]
    first = [layer.name for layer in row.build(row.smallest).model.layers]
    keras.Sequential([keras.Input((9, 9, 1)), keras.layers.Conv2D(2, 3), keras.layers.Activation("relu")])
    assert [layer.name for layer in row.build(row.smallest).model.layers] == first


@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_a_block_is_cut_at_the_tensor_before_it(name: str) -> None:
    row = BACKBONES[name]
    backbone = row.build(row.smallest)
    architecture = backbone.architecture
    names, blocks = architecture.names, architecture.blocks
    starts = [names.index(first) for first in blocks.values()]
    assert starts == sorted(set(starts))
    for block, start in zip(blocks, starts, strict=True):
        cut = resolve_freeze(architecture, block)
        assert cut.frozen == start
        if name == "nasnet_mobile":  # each cell takes the outputs of two: nothing but the first layers is a bottleneck
            assert cut.layer in (None, "stem_bn1")
        else:
            operations = {operation.name: operation for operation in backbone.model.operations}
            fed = operations[names[start]].input
            assert (fed if cut.layer is None else operations[cut.layer].output) is fed


def test_inception_blocks_are_the_layers_that_end_in_the_concatenation() -> None:
    architecture = BACKBONES["inception_v3"].build(75).architecture
    assert list(architecture.blocks) == ["stem", *(f"mixed{number}" for number in range(11))]
    assert resolve_freeze(architecture, "mixed9").layer == "mixed8"


@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_the_architecture_is_what_keras_builds(name: str) -> None:
    row = BACKBONES[name]
    backbone = row.build(row.smallest)
    model, architecture = backbone.model, backbone.architecture
    assert [(layer.name, layer.type, layer.parameters, layer.shape) for layer in architecture.layers] == [
        (layer.name, type(layer).__name__, layer.count_params(), layer.output.shape[1:]) for layer in model.layers
    ]
    assert architecture.pixels == model.input_shape[1:]
    assert architecture.shape(architecture.output) == model.output_shape[1:]
    for how in ("average", "none"):
        assert architecture.features(how) == pool(model.output, how).shape[-1]


@pytest.mark.parametrize("name", ["mobilenet_v2_035", pytest.param("convnext_tiny", marks=pytest.mark.slow)])
def test_a_backbone_is_handed_on_with_its_architecture(name: str, tmp_path: Path) -> None:
    row = BACKBONES[name]
    backbone = row.build(32)
    vary(backbone.model)
    architecture = backbone.architecture
    write_pretrained(tmp_path, Pretrained(backbone))
    again = read_pretrained(tmp_path).backbone
    assert again.architecture == read_architecture(tmp_path) == architecture
    assert list(again.architecture.blocks) == list(architecture.blocks)
    assert architecture == row.build(32).architecture
    for old, new in zip(backbone.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("name", "side", "said"),
    [
        ("resnet5", 224, "Did you mean resnet50"),
        ("inception_v3", 74, "inception_v3 takes 75 px or more (it was made for 299); received 74"),
    ],
)
def test_what_cannot_be_built_is_said(name: str, side: int, said: str) -> None:
    with pytest.raises(UserError) as error:
        find_backbone(name, side)
    assert said in str(error.value)


def test_the_command_lists_all_and_shows_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["backbones"])
    backbones.main()
    lines = capsys.readouterr().out.splitlines()
    assert set(BACKBONES) <= {line.split(" ")[0] for line in lines}
    assert max(map(len, lines)) <= 120
    for family in {row.family.name for row in BACKBONES.values() if not row.own}:
        assert sum(line.startswith(f"{family} ") for line in lines) == 2, family
    monkeypatch.setattr("sys.argv", ["backbones", "mobilenet_v2_035"])
    backbones.main()
    shown = capsys.readouterr().out
    assert "pretrain.source: data/fetch/mobilenet_v2_035_imagenet" in shown
    assert "block_13       layer  116  block_13_expand" in shown
    assert re.search("2018, arXiv:1801.04381\nlicense +Apache-2.0 ", shown)


def test_the_claims_about_families_hold_in_the_table() -> None:
    def accuracy(family: str) -> list[float]:
        return [row.top1 or 0 for row in BACKBONES.values() if row.family.name == family]

    known = {row.family.name for row in BACKBONES.values() if not row.own}
    assert known == PROFILES.keys()
    assert all(profile.year == 2000 + int(profile.paper[:2]) for profile in PROFILES.values())
    small, dense, xception = (BACKBONES[name] for name in ("resnet50", "densenet121", "xception"))
    assert accuracy("DenseNet")[0] >= accuracy("ResNet")[0]
    assert dense.parameters * 3 < small.parameters
    assert accuracy("Xception")[0] > accuracy("ResNet")[0]
    assert xception.parameters < small.parameters
    assert [new > old for new, old in zip(accuracy("ResNetV2"), accuracy("ResNet"), strict=True)] == [True] * 3
    assert max(accuracy("MobileNetV3")) > max(accuracy("MobileNetV2"))
    assert min(row.parameters for row in BACKBONES.values() if row.family.name == "MobileNet") < 250_000
    stated = {name: max(accuracy(name)) for name, profile in PROFILES.items() if profile.license != NOT_STATED}
    assert sorted(stated, key=lambda name: -stated[name])[:2] == ["NASNet", "InceptionResNet"]
    assert [name for name, best in stated.items() if best > 80] == ["InceptionResNet", "NASNet"]
    assert max(accuracy("ConvNeXt")) == max(row.top1 or 0 for row in BACKBONES.values())
