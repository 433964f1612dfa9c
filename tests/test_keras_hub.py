"""Presets of KerasHub as backbones: tiny networks, saved as `save_to_preset` saves the published ones."""

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from stages import evaluate, export, extract, extract_test, finetune, pretrain, split
from stages.backbones.onnx_backbone import read_onnx_backbone
from stages.backbones.source import find_source
from stages.base.errors import UserError
from stages.base.params import read_section
from stages.compute.graphs.edit import cut
from stages.compute.graphs.session import Graph
from stages.schema.pretrain import Pretrain
from tests.helpers.copies import set_params
from tests.helpers.small import small_project

PRESET = Path("data/own/preset")
SMALL = {"patch_size": 14, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "image_shape": (28, 28, 3)}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT": ("ViTBackbone", {"mlp_dim": 32}),
    "ViT without class token": ("ViTBackbone", {"mlp_dim": 32, "use_class_token": False, "use_mha_bias": False}),
    "DINOv2": ("DINOV2Backbone", {"intermediate_dim": 32}),
    "DINOv2 with registers": ("DINOV2Backbone", {"intermediate_dim": 32, "num_register_tokens": 4}),
    "DINOv2 giant": ("DINOV2Backbone", {"intermediate_dim": 32, "use_swiglu_ffn": True, "drop_path_rate": 0.1}),
}
QUICK = ("ViT", "DINOv2 with registers")
PARAMS = {
    "pretrain": {"backbone": "source", "source": str(PRESET), "pixels": "-1-1", "image_size": 28},
    "extract": {"freeze": "all", "pooling": "first"},
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


def read(**changes: object) -> Any:
    params = read_section(Path("params.yaml"), "pretrain", Pretrain).model_copy(update=changes)
    return read_onnx_backbone(params, find_source(params))


@pytest.mark.hub
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NETWORKS]
)
def test_the_graph_is_the_network(here: Path, name: str) -> None:
    network = save(name)
    pixels = np.random.default_rng(1).integers(0, 256, (3, 28, 28, 3), np.uint8)
    images = pixels / np.float32(127.5) - 1
    expected = np.asarray(network.predict_on_batch({"images": images} if "DINO" in name else images))
    own = read()
    assert own.architecture.shape("network") == expected.shape[1:]
    found = Graph(cut(own.graph, ["features_none"]), 2)(pixels)["features_none"].reshape(expected.shape)
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert read().graph.SerializeToString(deterministic=True) == own.graph.SerializeToString(deterministic=True)


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
    assert "from images of 28 x 28 x 3 to output, 5 tokens of 16 numbers" in said
    assert "mean [0.5] and std [0.5] (image_converter.json)" in said
    assert np.load("data/extract/train_features.npy").shape == (32, 16)


@pytest.mark.hub
@pytest.mark.slow
def test_another_side(here: Path) -> None:
    """DINOv2 interpolates the embeddings of positions, ViT has one for each patch."""
    save("DINOv2")
    assert read(image_size=42).architecture.shape("network") == (10, 16)
    save("ViT", Path("data/own/vit"))
    with pytest.raises(UserError, match=r"takes images of 28 pixels; received 42\. Set it to 28\."):
        read(image_size=42, source="data/own/vit")


@pytest.mark.hub
def test_other_networks_and_damaged_presets_are_refused(here: Path) -> None:
    save("ViT")
    weights = PRESET / "model.weights.h5"
    os.truncate(weights, 1000)
    with pytest.raises(UserError, match="expected a preset of KerasHub; it cannot be read"):
        read()
    (PRESET / "config.json").write_text('{"registered_name": "keras_hub>Unknown", "config": {}}')
    with pytest.raises(UserError, match="expected a preset of KerasHub; it cannot be read"):
        read()


def test_without_the_library_the_command_is_said(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PRESET.mkdir()
    (PRESET / "config.json").write_text('{"registered_name": "keras_hub>ViTBackbone", "config": {}}')
    monkeypatch.setattr("stages.backbones.preset.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"is a preset of KerasHub. Run `pip install -e '\.\[hub\]'`"):
        read()
