"""Networks as ONNX graphs: what Keras computes, the same bytes each time, cut and joined without loss."""

from pathlib import Path

import keras
import numpy as np
import onnx
import pytest

from stages.backbones.pretrained import Pretrained, read_pretrained, write_pretrained
from stages.backbones.registry import BACKBONES
from stages.base.errors import UserError
from stages.compute.architecture import from_json
from stages.compute.graphs.convert import convert
from stages.compute.graphs.edit import cut, join, read, write
from stages.compute.graphs.session import Graph
from stages.compute.networks import (
    PREPROCESSING,
    Backbone,
    build_frozen_part,
    build_graph_network,
    build_head,
    build_network,
    build_trainable_part,
)
from tests.helpers.families import FAMILIES, mark_by_size
from tests.helpers.miniature import as_backbone, miniature, pictures
from tests.helpers.published import vary


def made(name: str) -> Backbone:
    """Return a backbone with statistics that vary, as small as it can be."""
    keras.utils.set_random_seed(1)
    spec = BACKBONES[name]
    backbone = spec.build(max(spec.smallest, 64))
    vary(backbone.model)
    return backbone


def photographs(shape: tuple[int, ...], count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)


def run(model: onnx.ModelProto, rows: np.ndarray, batch_size: int = 3) -> dict[str, np.ndarray]:
    return dict(Graph(model, batch_size)(rows))


def assert_close(found: np.ndarray, expected: np.ndarray, share: float, what: str = "") -> None:
    assert found.shape == expected.shape, what
    assert np.abs(found - expected).max() <= share * np.abs(expected).max(), what


@pytest.mark.parametrize("name", mark_by_size([*FAMILIES, "mnist_cnn"]))
def test_the_graph_of_every_family_is_the_network(name: str) -> None:
    backbone = made(name)
    architecture = backbone.architecture
    cuts, pixels = architecture.dominators[1:], photographs(architecture.pixels)
    network = build_graph_network(backbone, cuts)
    model = convert(network)
    assert convert(network).SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)
    expected = {name: np.asarray(values) for name, values in network(pixels, training=False).items()}
    found = run(cut(model, list(expected)), pixels)
    for tensor, values in expected.items():
        assert np.std(values) > 0, tensor
        assert_close(found[tensor], values, 2e-5, tensor)

    asked = [*cuts[:-1:7], cuts[-2], "features_average"]  # what depths of freezing may keep together
    together = run(cut(model, asked), pixels)
    for tensor in asked[::3]:
        alone = run(cut(model, [tensor]), pixels)[tensor]
        np.testing.assert_array_equal(alone, together[tensor], f"{tensor} depends on what else is kept")

    middle = cuts[len(cuts) // 2]
    head = build_head(architecture.features("average"), classes=3)
    top = convert(build_trainable_part(backbone, middle, "average", head))
    joined = run(join(cut(model, [middle]), top), pixels)["thawed/logits"]
    whole = build_network(backbone, "average", head)
    assert_close(joined, np.asarray(whole(pixels, training=False)), 1e-4)
    assert_close(run(top, together.get(middle, found[middle]))["logits"], joined, 1e-4)


def test_what_is_kept_before_a_batchnorm_changes_nothing_behind_it() -> None:
    backbone, (pixels, _) = miniature(), pictures(9)
    model = convert(build_graph_network(as_backbone(backbone), ["block1_conv", "stem_bn", "block1_bn", "block2_conv"]))
    alone = run(cut(model, ["features_average"]), pixels, 4)["features_average"]
    beside = run(cut(model, ["stem_bn", "block2_conv", "features_average"]), pixels, 4)
    np.testing.assert_array_equal(beside["features_average"], alone)
    expected = build_graph_network(as_backbone(backbone), ["block2_conv"])(pixels, training=False)["block2_conv"]
    assert_close(beside["block2_conv"], np.asarray(expected), 1e-5)


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    pixels, _ = pictures(7)
    model = cut(convert(build_graph_network(as_backbone(miniature()), [])), ["features_max"])
    whole = run(model, pixels, 4)["features_max"]
    for rows in (pixels[:1], pixels[:3], pixels[::-1][:5]):
        places = [next(i for i, other in enumerate(pixels) if np.array_equal(row, other)) for row in rows]
        np.testing.assert_array_equal(run(model, rows, 4)["features_max"], whole[places])


@pytest.mark.parametrize("pooling", ["average", "max", "none"])
def test_features_are_pooled_in_each_way(pooling: str) -> None:
    backbone, (pixels, _) = miniature(), pictures(4)
    network = build_frozen_part(as_backbone(backbone), ["features"], pooling)
    model = cut(convert(build_graph_network(as_backbone(backbone), [])), [f"features_{pooling}"])
    found = run(model, pixels)[f"features_{pooling}"]
    assert_close(found, np.asarray(network(pixels, training=False)["features"]), 1e-5)


@pytest.mark.parametrize("mode", list(PREPROCESSING))
def test_preprocessing_is_part_of_the_graph(mode: str) -> None:
    pixels, _ = pictures(4, channels=3)
    network = build_graph_network(as_backbone(miniature(channels=3), mode), ["stem_conv"])
    found = run(cut(convert(network), ["stem_conv"]), pixels)["stem_conv"]
    assert_close(found, np.asarray(network(pixels, training=False)["stem_conv"]), 1e-5)


@pytest.mark.parametrize(
    "head",
    [
        build_head(12, classes=3),
        build_head(12, hidden=[8, 4], dropout=[0.5, 0.3], classes=3, batchnorm=True),
        build_head(12, hidden=[5], dropout=0.2, classes=2, output="sigmoid"),
    ],
    ids=["plain", "hidden", "sigmoid"],
)
def test_every_head_is_a_graph(head: keras.Model) -> None:
    rows = np.random.default_rng(1).standard_normal((6, 12)).astype(np.float32)
    for layer in head.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rows[0, : layer.moving_mean.shape[0]])
    assert_close(run(convert(head), rows)["logits"], np.asarray(head(rows, training=False)), 1e-5)


@keras.saving.register_keras_serializable()
class Squared(keras.layers.Layer):
    """A layer that a user wrote."""

    def call(self, x):
        return x * x


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (Squared(name="squared"), "the layer squared (Squared)"),
        (keras.layers.Lambda(lambda x: x * x, name="squared", output_shape=(4,)), "the layer squared (Lambda)"),
        (keras.layers.UnitNormalization(name="unit"), "the layer unit (UnitNormalization)"),
        (
            keras.layers.ReLU(threshold=1.0, name="late"),
            "the layer late of the network (ReLU with a threshold,",
        ),
        (keras.layers.Dense(4, activation=lambda x: x * x, name="own"), "the layer own of the network (the activation"),
        (keras.layers.Dense(4, activation="mish", name="fishy"), "the layer fishy of the network (the activation mish"),
    ],
    ids=["own", "lambda", "unit", "threshold", "own activation", "mish"],
)
def test_a_layer_that_cannot_be_written_is_named(layer: keras.layers.Layer, said: str) -> None:
    x = keras.Input((4,), name="features")
    with pytest.raises(UserError) as error:
        convert(keras.Model(x, layer(x)))
    assert str(error.value).startswith(said)
    assert str(error.value).endswith("cannot be written as an ONNX graph.")


@pytest.mark.parametrize(
    "content", [None, b"", b"\x08", b"not a graph", "cut"], ids=["missing", "empty", "short", "text", "cut"]
)
def test_a_graph_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "head.onnx"
    if content == "cut":
        write(convert(build_head(12, hidden=[8], classes=3)), path)
        path.write_bytes(path.read_bytes()[:300])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"head\.onnx") as error:
        read(path)
    assert "\n" not in str(error.value)


def test_pretrain_refuses_a_graph_that_computes_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretrained = Pretrained(BACKBONES["mnist_cnn"].build(28))
    write_pretrained(tmp_path, pretrained)
    monkeypatch.setattr("stages.backbones.pretrained.convert", lambda network: convert(other(network)))
    with pytest.raises(UserError, match=r"backbone\.onnx: expected what the network in \w+ outputs .* difference of"):
        write_pretrained(tmp_path, pretrained)


def other(network: keras.Model) -> keras.Model:
    """Return the same network with other weights."""
    outputs = [name for name in network.output if "features" not in name]
    return build_graph_network(BACKBONES["mnist_cnn"].build(28), outputs)


def test_an_architecture_is_read_as_it_was_written(tmp_path: Path) -> None:
    backbone = made("mobilenet_v3_small")
    model, architecture = backbone.model, backbone.architecture
    write_pretrained(tmp_path, Pretrained(backbone))
    assert read_pretrained(tmp_path).backbone.architecture == backbone.architecture
    assert sum(layer.parameters for layer in architecture.layers) == model.count_params()
    assert architecture.names == [layer.name for layer in model.layers]
    assert any(not layer.counted for layer in architecture.operations)
    assert isinstance(from_json, object)
