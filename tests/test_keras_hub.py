"""Presets of KerasHub as backbones: tiny networks, saved as `save_to_preset` saves the published ones."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from stages import evaluate, export, extract, extract_test, finetune, pretrain, split
from stages.backbones.build import build_pretrained
from stages.backbones.pretrained import read_pretrained, write_pretrained
from stages.backbones.source import find_source
from stages.base.errors import UserError
from stages.base.folders import replace_folder
from stages.base.params import read_section
from stages.compute.graphs.edit import cut
from stages.compute.graphs.edit import read as load_graph
from stages.compute.graphs.session import Graph
from stages.compute.networks import Backbone, build_frozen_part, build_head, build_trainable_part
from stages.compute.runtime import start
from stages.compute.saving import load_weights, save_weights
from stages.compute.trainable import LayerFreezer
from stages.schema.pretrain import Pretrain
from stages.training.dataloader import ArrayData
from stages.training.train import TrainingConfig, fit
from stages.transfer.compatibility import check_compatibility
from stages.transfer.freeze import resolve_freeze
from tests.helpers.copies import set_params
from tests.helpers.damage import loop_heap
from tests.helpers.miniature import pictures
from tests.helpers.small import small_project

PRETRAIN = Path("data/pretrain")
PRESET = Path("data/own/preset")
SMALL = {"patch_size": 14, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "image_shape": (28, 28, 3)}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT": ("ViTBackbone", {"mlp_dim": 32}),
    "ViT without class token": ("ViTBackbone", {"mlp_dim": 32, "use_class_token": False, "use_mha_bias": False}),
    "ViT with dropout": ("ViTBackbone", {"mlp_dim": 32, "dropout_rate": 0.2, "attention_dropout": 0.2}),
    "DINOv2": ("DINOV2Backbone", {"intermediate_dim": 32}),
    "DINOv2 with registers": ("DINOV2Backbone", {"intermediate_dim": 32, "num_register_tokens": 4}),
    "DINOv2 giant": ("DINOV2Backbone", {"intermediate_dim": 32, "use_swiglu_ffn": True, "drop_path_rate": 0.1}),
}
QUICK = ("ViT", "DINOv2 with registers")
PARAMS = {
    "pretrain": {"backbone": "source", "source": str(PRESET), "pixels": "-1-1", "image_size": 28},
    "extract": {"freeze": "block_1", "pooling": "first"},
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return small_project(tmp_path, monkeypatch, PARAMS)


def save(name: str, folder: Path = PRESET) -> keras.Model:
    """Write a network with weights that vary, and return it."""
    import keras_hub

    kind, options = NETWORKS[name]
    network = getattr(keras_hub.models, kind)(**SMALL, **options)
    draw = np.random.default_rng(0)
    for weight in network.weights:
        if weight.dtype == "float32" and "interpolated" not in weight.path:
            weight.assign(draw.normal(0.0, 0.2, weight.shape) + ("gamma" in weight.path or "lambda" in weight.path))
    network.save_to_preset(str(folder))
    return keras_hub.models.Backbone.from_preset(str(folder))


def read(**changes: object) -> Backbone:
    params = section().model_copy(update=changes)
    return build_pretrained(params, find_source(params)).backbone


def run(network: keras.Model, images: np.ndarray) -> np.ndarray:
    return np.asarray(network({"images": images} if isinstance(network.input, dict) else images))


def write_again() -> Backbone:
    """Write the backbone as ``pretrain`` does, and read it as ``finetune`` does."""
    start(seed=0)
    with replace_folder(PRETRAIN) as folder:
        params = section()
        write_pretrained(folder, build_pretrained(params, find_source(params)))
    return read_pretrained(PRETRAIN).backbone


def section() -> Pretrain:
    return read_section(Path("params.yaml"), "pretrain", Pretrain)


@pytest.mark.hub
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NETWORKS]
)
def test_layers_and_graph_are_the_network(here: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    network = save(name)
    pixels = np.random.default_rng(1).integers(0, 256, (3, 28, 28, 3), np.uint8)
    expected = run(network, images := pixels / np.float32(127.5) - 1)
    backbone = write_again()
    assert ("drop_path_rate: 0.1" in capsys.readouterr().out) == ("drop_path_rate" in NETWORKS[name][1])
    assert list(backbone.architecture.blocks) == ["block_0", "block_1"]
    assert np.std(expected) > 0.1
    np.testing.assert_array_equal(run(backbone.model, images), expected)
    graph = Graph(cut(load_graph(PRETRAIN / "backbone.onnx"), ["features_none", "features_first", "block_0"]), 2)
    found = graph(pixels)
    for tensor, values in (("features_none", expected.reshape(3, -1)), ("features_first", expected[:, 0])):
        np.testing.assert_allclose(found[tensor], values, atol=1e-5 * np.abs(expected).max())
    written = {path.name: path.read_bytes() for path in PRETRAIN.iterdir()}
    write_again()
    assert {path.name: path.read_bytes() for path in PRETRAIN.iterdir()} == written


@pytest.mark.hub
@pytest.mark.parametrize("name", QUICK)
def test_training_from_stored_activations_is_training_the_preset(here: Path, name: str) -> None:
    """The other network is KerasHub's own, of which embeddings and first block do not train."""
    preset, (pixels, labels) = save(name), pictures(48, channels=3, side=28)
    write_again()
    losses = {}
    for way in ("activations", "preset"):
        keras.utils.set_random_seed(0)
        head = build_head(16, classes=2)
        inputs = pixels
        if way == "activations":
            backbone = read_pretrained(PRETRAIN).backbone
            depth = resolve_freeze(backbone.architecture, "block_1")
            assert depth.layer == "block_0"
            inputs = np.asarray(build_frozen_part(backbone, ["block_0"], "first").predict_on_batch(pixels)["block_0"])
            LayerFreezer(backbone.model, train_batchnorm=False).freeze(depth.frozen)
            network = build_trainable_part(backbone, depth.layer, "first", head)
        else:
            encoder = next(layer for layer in preset.layers if "Encoder" in type(layer).__name__)
            blocks = getattr(encoder, "encoder_layers", None) or encoder.layers
            preset.layers[1].trainable = blocks[0].trainable = False
            x = keras.Input((28, 28, 3), dtype="uint8")
            images = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(x)
            tokens = preset({"images": images} if isinstance(preset.input, dict) else images)
            network = keras.Model(x, head(tokens[:, 0]))
        history = fit(network, way, ArrayData(inputs, labels, 2), None, TrainingConfig(4, 0.003, 8, seed=1))
        losses[way] = history["loss"].to_numpy()
    assert losses["activations"][-1] < 0.9 * losses["activations"][0]
    np.testing.assert_allclose(losses["activations"], losses["preset"], rtol=1e-4)


@pytest.mark.hub
def test_frozen_blocks_drop_nothing_and_thawed_blocks_do(here: Path) -> None:
    save("ViT with dropout")
    backbone = write_again()
    images = np.random.default_rng(0).normal(size=(2, 28, 28, 3)).astype(np.float32)
    freezer = LayerFreezer(backbone.model, train_batchnorm=False)
    for frozen, same in ((6, True), (4, False), (6, True)):
        freezer.freeze(frozen)
        first, second = (np.asarray(backbone.model(images, training=True)) for _ in range(2))
        assert np.array_equal(first, second) == same


@pytest.mark.hub
def test_trained_embeddings_are_saved(here: Path) -> None:
    """KerasHub's own saving would lose a change whose sum is negative."""
    save("DINOv2")
    backbone = write_again()
    positions = backbone.model.layers[1].interpolated_position_embeddings
    positions.assign(positions - 0.1)
    images = np.ones((1, 28, 28, 3), np.float32)
    expected = run(backbone.model, images)
    save_weights(backbone.model, Path("trained.weights.h5"))
    other = read_pretrained(PRETRAIN).backbone.model
    load_weights(other, Path("trained.weights.h5"))
    np.testing.assert_array_equal(run(other, images), expected)


@pytest.mark.hub
@pytest.mark.slow
def test_every_stage_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import keras_hub

    network = save("ViT")
    converter = keras_hub.layers.ViTImageConverter(image_size=(28, 28), scale=1 / 127.5, offset=-1.0)
    preprocessor = keras_hub.models.ViTImageClassifierPreprocessor(converter)
    task = keras_hub.models.ViTImageClassifier(backbone=network, num_classes=3, preprocessor=preprocessor)
    task.save_to_preset(str(PRESET))
    set_params(here, {"pretrain": {"pixels": "auto"}})
    for one in (split, pretrain, extract, extract_test, finetune, evaluate, export):
        one.main()
    said = capsys.readouterr().out
    assert "preset: the backbone ends at ln, 6 layers" in said
    assert "mean [0.5] and std [0.5] (image_converter.json)" in said
    assert np.load("data/extract/train_block_0.npy").shape == (32, 5, 16)
    assert np.load("data/extract/train_features.npy").shape == (32, 16)
    table = pd.read_csv("data/finetune/layers.csv").set_index("name")["state"]
    assert list(table[table == "thawed"].index) == ["block_1", "ln"]
    assert Path("data/finetune/finetuned.onnx").is_file()


@pytest.mark.hub
def test_with_all_frozen_no_stage_after_pretrain_needs_the_library(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save("ViT")
    set_params(here, {"extract": {"freeze": "all"}, "finetune": {"head": {"epochs": 1}}})
    split.main()
    pretrain.main()
    monkeypatch.setattr("stages.compute.hub.find_spec", lambda name: None)
    for one in (extract, extract_test, finetune, evaluate, export):
        one.main()
    with pytest.raises(UserError, match=r"a network of KerasHub.* Run `pip install -e '\.\[hub\]'`"):
        read_pretrained(PRETRAIN)


@pytest.mark.hub
def test_keras_files_are_refused_beforehand(here: Path) -> None:
    save("ViT")
    with pytest.raises(UserError, match=r"export\.formats: expected onnx, saved_model or litert, .* received keras"):
        check_compatibility(read().architecture, formats=["onnx", "keras"])


@pytest.mark.hub
@pytest.mark.slow
def test_another_side(here: Path) -> None:
    """DINOv2 interpolates the embeddings of positions, ViT has one for each patch."""
    save("DINOv2")
    assert read(image_size=42).model.output_shape == (None, 10, 16)
    save("ViT", Path("data/own/vit"))
    with pytest.raises(UserError, match=r"takes images of 28 pixels; received 42\. Set it to 28\."):
        read(image_size=42, source="data/own/vit")


def rewrite(changes: dict[str, Any], options: dict[str, Any]) -> None:
    path = PRESET / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | changes | {"config": content["config"] | options}))


@pytest.mark.hub
def test_other_networks_and_damaged_presets_are_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, before a network is built."""
    code = {"class_name": "__lambda__", "config": {"code": "4wE=", "defaults": None, "closure": None}}
    own = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "own", "function": code}}
    hostile: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({"registered_name": "keras_hub>BertBackbone"}, {}, "received keras_hub>BertBackbone. Choose another preset."),
        ({"module": "os", "class_name": "system"}, {}, " (system) is custom code, which is not run"),
        ({}, {"dtype": own}, "own (Lambda) is custom code, which is not run"),
        ({}, {"num_layers": 10**6}, "expected weights for 1,000,000 blocks of width 16, as its config says; received"),
        ({}, {"hidden_dim": 10**7}, "expected weights for 2 blocks of width 10,000,000"),
        ({}, {"num_layers": "2"}, "expected a preset of KerasHub, received: "),
        ({}, {"num_heads": 0}, "expected a preset of KerasHub, received: integer division or modulo by zero. Copy or"),
        ({}, {"hidden_dim": 32}, "expected a preset of KerasHub, received: "),
    ]
    save("ViT")
    sound = (PRESET / "config.json").read_text()
    for changes, options, said in hostile:
        rewrite(changes, options)
        refused(said)
        (PRESET / "config.json").write_text(sound)
    weights = PRESET / "model.weights.h5"
    content = weights.read_bytes()
    monkeypatch.setattr("stages.base.hdf5.SECONDS", 1)
    weights.write_bytes(loop_heap(content))
    refused("model.weights.h5: its HDF5 content is damaged: reading it did not finish in 1 seconds")
    weights.write_bytes(content[:5000])
    refused("expected a preset of KerasHub, received: ")
    weights.unlink()
    refused("expected its weights in model.weights.h5; there is no such file. Copy or save it again.")
    (PRESET / "model.weights.json").write_text('{"weight_map": {"/a": ["../../a.weights.h5"]}}')
    refused("expected its weights in a.weights.h5; there is no such file. Copy or save it again.")


@pytest.mark.hub
def test_a_folder_named_as_a_published_preset_is_read(here: Path) -> None:
    """KerasHub would download the published one."""
    save("DINOv2")
    PRESET.rename("dinov2_small")
    assert read(source="dinov2_small").model.output_shape == (None, 5, 16)


def refused(said: str) -> None:
    with pytest.raises(UserError) as error:
        read()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_without_the_library_the_command_is_said(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PRESET.mkdir()
    (PRESET / "config.json").write_text('{"registered_name": "keras_hub>ViTBackbone", "config": {}}')
    monkeypatch.setattr("stages.compute.hub.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"is a preset of KerasHub. Run `pip install -e '\.\[hub\]'`"):
        read()
