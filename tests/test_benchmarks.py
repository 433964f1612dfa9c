"""What the benchmarks compute by themselves, and that they fit the code."""

import importlib

import keras
import pytest
from keras import layers

from tests.benchmarks.depth import multiply_adds
from tests.benchmarks.measured import settled
from tests.conftest import PROJECT


@pytest.mark.parametrize("name", sorted(path.stem for path in (PROJECT / "tests" / "benchmarks").glob("*.py")))
def test_a_benchmark_imports_what_there_is(name: str) -> None:
    assert callable(importlib.import_module(f"tests.benchmarks.{name}").main)


def test_multiply_adds_are_those_of_convolutions_and_dense_layers() -> None:
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same")(x)  # 8 * 8 places, 3 * 3 * 3 * 4 each
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same")(x)  # 4 * 4 places, 3 * 3 * 4
    x = layers.SeparableConv2D(5, 1)(x)  # 4 * 4 places, 4 + 4 * 5
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(7)])  # 5 * 7
    model = keras.Model(inputs, inner(layers.GlobalAveragePooling2D()(x)))
    assert multiply_adds(model) == 64 * 108 + 16 * 36 + 16 * 24 + 35


def test_multiply_adds_of_mobilenet_v2_are_as_published() -> None:
    model = keras.applications.MobileNetV2(weights=None)
    assert multiply_adds(model) == pytest.approx(300e6, rel=0.01)  # Sandler et al. 2018, table 4


def test_the_first_epoch_counts_like_the_others() -> None:
    assert settled([9.0, 2.0, 1.0, 3.0]) == 2 + 2 + 1 + 3
    assert settled([1.0, 2.0, 2.0]) == 5
    assert settled([4.0]) == 4
