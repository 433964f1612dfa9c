"""The frozen pass folds BatchNormalization into convolutions: fewer passes over memory, the same outputs."""

import keras
import numpy as np
import pytest
from stages.network.fold import fold

from stages.network.backbones import BACKBONES
from stages.network.build import bottom
from stages.network.forward import Forward, automatic
from tests.families import FAMILIES
from tests.miniature import miniature, pictures
from tests.published import vary

FAST = ("mobilenet_v2_035", "vgg16")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in FAMILIES]
)
def test_the_folded_network_puts_out_the_same(name: str) -> None:
    row = BACKBONES[name]
    side = max(row.smallest, 64)
    keras.utils.set_random_seed(1)
    backbone = row.build(side)
    vary(backbone)
    folded = fold(backbone)
    images = np.random.default_rng(0).standard_normal((2, side, side, row.channels)).astype(np.float32)
    plain, quick = (Forward(network)(images) for network in (backbone, folded))
    np.testing.assert_allclose(quick, plain, atol=1e-3 * np.abs(plain).max())
    assert _norms(folded) < 0.6 * _norms(backbone) or not _norms(backbone)
    assert _norms(backbone) == sum(isinstance(layer, keras.layers.BatchNormalization) for layer in backbone.layers)


def _norms(network: keras.Model) -> int:
    return sum(isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers)


def test_what_is_kept_before_a_batchnorm_stays_what_it_was() -> None:
    backbone, (pixels, _) = miniature(), pictures(9)
    names = ["block1_conv", "stem_bn", "features"]  # a convolution, and what a folded BatchNormalization put out
    plain, folded = (Forward(bottom(backbone, "unit", names, "average", how), 4)(pixels) for how in (lambda x: x, fold))
    for name in names:
        assert np.std(plain[name]) > 0.01
        np.testing.assert_allclose(folded[name], plain[name], atol=1e-5)
    assert _norms(backbone) == 3  # the backbone itself keeps its layers


def test_any_number_of_images_goes_through_in_batches_of_one_size() -> None:
    backbone, (pixels, _) = miniature(), pictures(7)
    network = bottom(backbone, "unit", ["pixels", "features"], "average")
    whole = Forward(network, 7)(pixels)
    assert whole["pixels"].dtype == np.uint8
    for size in (1, 3, 64):
        parts = Forward(network, size)(pixels)
        np.testing.assert_array_equal(parts["pixels"], pixels)
        np.testing.assert_allclose(parts["features"], whole["features"], atol=1e-6)


def test_larger_images_come_fewer_at_a_time() -> None:
    small, large = (automatic(bottom(miniature(side), "unit", ["features"], "average")) for side in (16, 2048))
    assert small > large >= 1
