"""What extract.freeze means: what is frozen is exactly what was asked for."""

import keras
import numpy as np
import pytest

from stages.backbones.registry import BACKBONES
from stages.base.errors import UserError
from stages.compute.architecture import describe
from stages.compute.build import bottom, head, pool, top
from stages.compute.build import network as whole_network
from stages.compute.optimizers import Rule, by_depth
from stages.training.dataloader import Kept
from stages.training.train import Schedule, fit
from stages.transfer.freeze import boundary, layer_table
from stages.transfer.thaw import thaw
from tests.helpers.miniature import miniature, pictures

BLOCKS = {"stem": "stem_conv", "block1": "block1_conv", "block2": "block2_conv"}


@pytest.mark.parametrize(
    ("freeze", "frozen", "kept"),
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
    ],
)
def test_each_form_freezes_what_it_says(freeze: int | str, frozen: int, kept: str | None) -> None:
    cut = boundary(describe(miniature(), BLOCKS), freeze)
    assert (cut.frozen, cut.layer) == (frozen, kept)


@pytest.mark.parametrize(
    ("name", "side", "freeze", "first_thawed", "kept"),
    [
        ("vgg16", 32, 15, "block5_conv1", "block4_pool"),
        ("resnet50", 32, -4, "conv5_block3_3_conv", "conv5_block2_out"),
        ("mobilenet_v2_035", 96, "block_13", "block_13_expand", "block_12_add"),
        ("mnist_cnn", 28, -2, "dense", "flatten"),
        ("mobilenet_v3_small", 32, "expanded_conv_depthwise", "expanded_conv_depthwise", "expanded_conv_depthwise_pad"),
    ],
)
def test_published_networks_count_as_keras_counts(
    name: str, side: int, freeze: int | str, first_thawed: str, kept: str
):
    backbone = BACKBONES[name].build(side)
    cut = boundary(BACKBONES[name].describe(backbone), freeze)
    assert backbone.layers[cut.frozen].name == first_thawed
    assert cut.layer == kept
    if isinstance(freeze, int):
        assert backbone.layers[: cut.frozen] == backbone.layers[:freeze]


@pytest.mark.parametrize(
    ("freeze", "said"), [("blok2", "Did you mean block2"), (12, "from -11 to 11"), (-12, "-12"), ("lock1", "block1")]
)
def test_what_does_not_exist_is_named(freeze: int | str, said: str) -> None:
    with pytest.raises(UserError, match=r"extract\.freeze: expected .* received") as error:
        boundary(describe(miniature(), BLOCKS), freeze)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("name", "part"),
    [("mobilenet_v2", "block"), ("mobilenet_v2", "Conv"), ("inception_v3", "batch"), ("convnext_tiny", "convnext")],
)
def test_a_part_of_a_name_is_no_name(name: str, part: str) -> None:
    backbone = BACKBONES[name].describe(96)
    assert any(layer.startswith(part) for layer in backbone.names)
    with pytest.raises(UserError, match=rf"a layer or block of the backbone .* received '{part}'\. Did you mean"):
        boundary(backbone, part)


@pytest.mark.parametrize("freeze", ["all", "none", 6, "block2"])
def test_bottom_and_top_are_the_whole(freeze: int | str) -> None:
    keras.utils.set_random_seed(0)
    backbone = miniature()
    cut = boundary(describe(backbone, BLOCKS), freeze)
    classifier = head(int(pool(backbone.output, "average").shape[-1]), [5], 0.0, 3)
    network = whole_network(backbone, "unit", "average", classifier)
    pixels, _ = pictures(6)
    layer = cut.layer or "pixels"
    outputs = bottom(backbone, "unit", [layer, "features"], "average").predict_on_batch(pixels)
    thawed = top(backbone, "unit", cut.layer, "average", classifier)
    expected = network.predict_on_batch(pixels)
    assert np.std(expected) > 0.01
    np.testing.assert_array_equal(thawed.predict_on_batch(np.asarray(outputs[layer])), expected)
    np.testing.assert_array_equal(classifier.predict_on_batch(np.asarray(outputs["features"])), expected)


@pytest.mark.parametrize("train_batchnorm", [False, True])
def test_training_changes_the_thawed_alone(train_batchnorm: bool) -> None:
    keras.utils.set_random_seed(0)
    backbone = miniature()
    cut = boundary(describe(backbone, {}), 6)  # inside block1: its first layers are frozen, yet run in every step
    table = layer_table(describe(backbone, {}), cut.frozen, train_batchnorm)
    before = {layer.name: layer.get_weights() for layer in backbone.layers}
    pixels, labels = pictures(32)
    classifier = head(12, [], 0.0, 2)
    kept = bottom(backbone, "unit", [cut.layer], "average").predict(pixels, verbose=0)[cut.layer]
    thaw(backbone, cut.frozen, train_batchnorm)
    network = top(backbone, "unit", cut.layer, "average", classifier)
    fit(network, "thawed", Kept(kept, labels, 2), None, Schedule(2, 0.01, 8, seed=1))
    for name, state in zip(table["name"], table["state"], strict=True):
        weights = backbone.get_layer(name).get_weights()
        same = all(np.array_equal(old, new) for old, new in zip(before[name], weights, strict=True))
        if weights:
            assert same == (state != "thawed"), name
    assert set(table["state"]) == ({"frozen", "thawed"} if train_batchnorm else {"frozen", "thawed", "inference"})


def test_frozen_dropout_stays_still_while_training() -> None:
    backbone = miniature()
    cut = boundary(describe(backbone, {}), "block1_add")  # the block's dropout is frozen, yet runs in every step
    pixels, _ = pictures(4)
    kept = bottom(backbone, "unit", [cut.layer], "average").predict(pixels, verbose=0)[cut.layer]
    thaw(backbone, cut.frozen, train_batchnorm=False)
    network = top(backbone, "unit", cut.layer, "average", head(12, [], 0.0, 2))
    np.testing.assert_array_equal(network(kept, training=True), network(kept, training=True))


@pytest.mark.parametrize(
    ("rule", "decay"),
    [(Rule("adam"), 1.0), (Rule("sgd"), 0.5), (Rule("adamw", weight_decay=0.1, clip_norm=1.0), 0.5)],
    ids=["adam", "sgd by depth", "adamw by depth"],
)
def test_training_from_kept_activations_is_training_end_to_end(rule: Rule, decay: float) -> None:
    pixels, labels = pictures(48)
    losses = {}
    for way in ("kept", "end to end"):
        keras.utils.set_random_seed(0)
        backbone = miniature()
        cut = boundary(describe(backbone, {}), 6)
        classifier = head(12, [6], 0.0, 2)
        kept = bottom(backbone, "unit", [cut.layer], "average").predict(pixels, verbose=0)[cut.layer]
        thaw(backbone, cut.frozen, train_batchnorm=False)
        if way == "kept":
            network, inputs = top(backbone, "unit", cut.layer, "average", classifier), kept
        else:
            network, inputs = whole_network(backbone, "unit", "average", classifier), pixels
        schedule, factors = Schedule(6, 0.003, 8, seed=1, rule=rule), by_depth(backbone, decay, {})
        history = fit(network, way, Kept(inputs, labels, 2), None, schedule, factors=factors)
        losses[way] = history["loss"].to_numpy()
    assert losses["kept"][-1] < 0.9 * losses["kept"][0]
    np.testing.assert_allclose(losses["kept"], losses["end to end"], rtol=1e-4)
