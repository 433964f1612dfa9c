"""What extract.freeze means: what is frozen is exactly what was asked for."""

import keras
import numpy as np
import pytest

from stages.backbones.registry import BACKBONES
from stages.base.errors import UserError
from stages.compute.architecture import describe
from stages.compute.networks import build_frozen_part, build_head, build_network, build_trainable_part, pool
from stages.compute.optimizers import OptimizerConfig, layer_decay_factors
from stages.compute.trainable import freeze_layers
from stages.training.dataloader import ArrayData
from stages.training.train import TrainingConfig, fit
from stages.transfer.freeze import layer_table, resolve_freeze
from tests.helpers.miniature import as_backbone, miniature, pictures

BLOCKS = {"stem": "stem_conv", "block1": "block1_conv", "block2": "block2_conv"}


def run_frozen_part(backbone: keras.Model, layer: str | None, pixels: np.ndarray) -> np.ndarray:
    assert layer is not None
    network = build_frozen_part(as_backbone(backbone), [layer], "average")
    return np.asarray(network.predict(pixels, verbose=0)[layer])


@pytest.mark.parametrize(
    ("freeze", "frozen", "layer"),
    [
        ("all", 11, "block2_out"),
        ("none", 0, None),
        (0, 0, None),
        (1, 1, None),
        (4, 4, "stem_relu"),
        (-3, 8, "block1_add"),
        (6, 6, "stem_relu"),  # inside the residual block: its input is the deepest single tensor
        ("block2", 8, "block1_add"),
        ("block1", 4, "stem_relu"),
        ("block1_add", 7, "stem_relu"),
        ("stem", 1, None),
        ("last_block", 8, "block1_add"),
    ],
)
def test_each_form_freezes_what_it_says(freeze: int | str, frozen: int, layer: str | None) -> None:
    depth = resolve_freeze(describe(miniature(), BLOCKS), freeze)
    assert (depth.frozen, depth.layer) == (frozen, layer)


@pytest.mark.parametrize(
    ("name", "side", "freeze", "first_thawed", "layer"),
    [
        ("vgg16", 32, 15, "block5_conv1", "block4_pool"),
        ("resnet50", 32, -4, "conv5_block3_3_conv", "conv5_block2_out"),
        ("mobilenet_v2_035", 96, "block_13", "block_13_expand", "block_12_add"),
        ("mnist_cnn", 28, -2, "dense", "flatten"),
        ("mnist_cnn", 28, "last_block", "dense", "flatten"),
        ("vgg16", 32, "last_block", "block5_conv1", "block4_pool"),
        ("mobilenet_v2_035", 96, "last_block", "block_16_expand", "block_15_add"),  # not Conv_1
        ("mobilenet_v3_small", 32, "expanded_conv_depthwise", "expanded_conv_depthwise", "expanded_conv_depthwise_pad"),
    ],
)
def test_published_networks_count_as_keras_counts(
    name: str, side: int, freeze: int | str, first_thawed: str, layer: str
):
    backbone = BACKBONES[name].build(side)
    depth = resolve_freeze(backbone.architecture, freeze)
    layers = backbone.model.layers
    assert layers[depth.frozen].name == first_thawed
    assert depth.layer == layer
    if isinstance(freeze, int):
        assert layers[: depth.frozen] == layers[:freeze]


@pytest.mark.parametrize(
    ("freeze", "said"), [("blok2", "Did you mean block2"), (12, "from -11 to 11"), (-12, "-12"), ("lock1", "block1")]
)
def test_what_does_not_exist_is_named(freeze: int | str, said: str) -> None:
    with pytest.raises(UserError, match=r"extract\.freeze: expected .* received") as error:
        resolve_freeze(describe(miniature(), BLOCKS), freeze)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("name", "part"),
    [("mobilenet_v2", "block"), ("mobilenet_v2", "Conv"), ("inception_v3", "batch"), ("convnext_tiny", "convnext")],
)
def test_a_part_of_a_name_is_no_name(name: str, part: str) -> None:
    architecture = BACKBONES[name].build(96).architecture
    assert any(layer.startswith(part) for layer in architecture.names)
    with pytest.raises(UserError, match=rf"a layer or block of the backbone .* received '{part}'\. Did you mean"):
        resolve_freeze(architecture, part)


@pytest.mark.parametrize("freeze", ["all", "none", 6, "block2"])
def test_bottom_and_top_are_the_whole(freeze: int | str) -> None:
    keras.utils.set_random_seed(0)
    backbone = miniature()
    depth = resolve_freeze(describe(backbone, BLOCKS), freeze)
    classifier = build_head(int(pool(backbone.output, "average").shape[-1]), hidden=[5], classes=3)
    network = build_network(as_backbone(backbone), "average", classifier)
    pixels, _ = pictures(6)
    layer = depth.layer or "pixels"
    outputs = build_frozen_part(as_backbone(backbone), [layer, "features"], "average").predict_on_batch(pixels)
    thawed = build_trainable_part(as_backbone(backbone), depth.layer, "average", classifier)
    expected = network.predict_on_batch(pixels)
    assert np.std(expected) > 0.01
    np.testing.assert_array_equal(thawed.predict_on_batch(np.asarray(outputs[layer])), expected)
    np.testing.assert_array_equal(classifier.predict_on_batch(np.asarray(outputs["features"])), expected)


@pytest.mark.parametrize("train_batchnorm", [False, True])
def test_training_changes_the_thawed_alone(train_batchnorm: bool) -> None:
    keras.utils.set_random_seed(0)
    backbone = miniature()
    # Inside block1: its first layers are frozen, yet run in every step.
    depth = resolve_freeze(describe(backbone, {}), 6)
    table = layer_table(describe(backbone, {}), depth.frozen, train_batchnorm)
    before = {layer.name: layer.get_weights() for layer in backbone.layers}
    pixels, labels = pictures(32)
    classifier = build_head(12, classes=2)
    activations = run_frozen_part(backbone, depth.layer, pixels)
    freeze_layers(backbone, depth.frozen, train_batchnorm)
    network = build_trainable_part(as_backbone(backbone), depth.layer, "average", classifier)
    fit(network, "thawed", ArrayData(activations, labels, 2), None, TrainingConfig(2, 0.01, 8, seed=1))
    for name, state in zip(table["name"], table["state"], strict=True):
        weights = backbone.get_layer(name).get_weights()
        same = all(np.array_equal(old, new) for old, new in zip(before[name], weights, strict=True))
        if weights:
            assert same == (state != "thawed"), name
    assert set(table["state"]) == ({"frozen", "thawed"} if train_batchnorm else {"frozen", "thawed", "inference"})


def test_frozen_dropout_stays_still_while_training() -> None:
    backbone = miniature()
    # The block's dropout is frozen, yet runs in every step.
    depth = resolve_freeze(describe(backbone, {}), "block1_add")
    pixels, _ = pictures(4)
    activations = run_frozen_part(backbone, depth.layer, pixels)
    freeze_layers(backbone, depth.frozen, train_batchnorm=False)
    network = build_trainable_part(as_backbone(backbone), depth.layer, "average", build_head(12, classes=2))
    np.testing.assert_array_equal(network(activations, training=True), network(activations, training=True))


@pytest.mark.parametrize(
    ("rule", "decay"),
    [
        (OptimizerConfig("adam"), 1.0),
        (OptimizerConfig("sgd"), 0.5),
        (OptimizerConfig("adamw", weight_decay=0.1, clip_norm=1.0), 0.5),
    ],
    ids=["adam", "sgd by depth", "adamw by depth"],
)
def test_training_from_stored_activations_is_training_end_to_end(rule: OptimizerConfig, decay: float) -> None:
    pixels, labels = pictures(48)
    losses = {}
    for way in ("activations", "end to end"):
        keras.utils.set_random_seed(0)
        backbone = miniature()
        depth = resolve_freeze(describe(backbone, {}), 6)
        classifier = build_head(12, hidden=[6], classes=2)
        inputs = run_frozen_part(backbone, depth.layer, pixels) if way == "activations" else pixels
        freeze_layers(backbone, depth.frozen, train_batchnorm=False)
        if way == "activations":
            network = build_trainable_part(as_backbone(backbone), depth.layer, "average", classifier)
        else:
            network = build_network(as_backbone(backbone), "average", classifier)
        config = TrainingConfig(6, 0.003, 8, seed=1, optimizer=rule)
        factors = layer_decay_factors(as_backbone(backbone), decay)
        history = fit(network, way, ArrayData(inputs, labels, 2), None, config, rate_factors=factors)
        losses[way] = history["loss"].to_numpy()
    assert losses["activations"][-1] < 0.9 * losses["activations"][0]
    np.testing.assert_allclose(losses["activations"], losses["end to end"], rtol=1e-4)
