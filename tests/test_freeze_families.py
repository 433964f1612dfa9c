"""Freezing is exact in every family: frozen weights stay as they are to the last bit, and thawed ones learn."""

from itertools import cycle

import keras
import numpy as np
import pytest

from stages.backbones.registry import BACKBONES
from stages.compute.networks import build_frozen_part, build_head, build_trainable_part
from stages.compute.trainable import freeze_layers
from stages.transfer.freeze import layer_table, resolve_freeze
from tests.helpers.families import FAMILIES
from tests.helpers.published import vary

FORMS = ["all", "none", "count", "negative", "block", "layer"]
CASES = [
    *(("mobilenet_025", form, "frozen") for form in FORMS),
    *(
        pytest.param("mobilenet_025", form, "train", marks=() if form == "block" else pytest.mark.slow)
        for form in FORMS
    ),
    *(("three_conv_cnn", form, "frozen") for form in FORMS),
    *(  # large networks: one case each, which take turns from family to family
        pytest.param(name, *case, marks=pytest.mark.exhaustive)
        for name, case in zip(
            (name for name in FAMILIES if name not in ("mobilenet_025", "three_conv_cnn")),
            cycle([("layer", "frozen"), ("block", "train"), ("negative", "frozen"), ("count", "train")]),
            strict=False,
        )
    ),
]


def freeze_of(form: str, names: list[str], blocks: dict[str, str]) -> tuple[int | str, int]:
    """Return a value of that form, and how many layers it freezes."""
    count = len(names)
    block = list(blocks)[-2]
    layer = names[count - count // 4]
    return {
        "all": ("all", count),
        "none": ("none", 0),
        "count": (count - count // 5, count - count // 5),
        "negative": (-(count // 6) - 1, count - count // 6 - 1),
        "block": (block, names.index(blocks[block])),
        "layer": (layer, names.index(layer)),
    }[form]


@pytest.mark.parametrize(("name", "form", "batchnorm"), CASES)
def test_frozen_stays_and_thawed_learns(name: str, form: str, batchnorm: str) -> None:
    keras.utils.set_random_seed(1)
    row = BACKBONES[name]
    side = max(row.smallest, 64)
    backbone = row.build(side)
    vary(backbone.model)
    model, architecture = backbone.model, backbone.architecture
    freeze, expected = freeze_of(form, architecture.names, dict(architecture.blocks))
    depth = resolve_freeze(architecture, freeze)
    assert depth.frozen == expected
    states = layer_table(architecture, depth.frozen, batchnorm == "train").set_index("name")["state"]
    pixels = np.random.default_rng(0).integers(0, 256, (4, side, side, row.channels), dtype=np.uint8)
    layer = depth.layer or "pixels"
    activations = build_frozen_part(backbone, [layer], "average").predict_on_batch(pixels)[layer]
    before = {layer.name: layer.get_weights() for layer in model.layers}
    freeze_layers(model, depth.frozen, batchnorm == "train")
    classifier = build_head(architecture.features("average"), classes=2)
    network = build_trainable_part(backbone, depth.layer, "average", classifier)
    optimizer = keras.optimizers.Adam(0.001, epsilon=1e-30)  # gradients deep in a random network are tiny
    network.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    for _ in range(2):
        network.train_on_batch(np.asarray(activations), np.array([0, 1, 0, 1]))
    for layer in model.layers:
        same = [np.array_equal(old, new) for old, new in zip(before[layer.name], layer.get_weights(), strict=True)]
        if states[layer.name] != "thawed":
            assert all(same), f"{layer.name} is {states[layer.name]}, and changed"
        elif isinstance(layer, keras.layers.BatchNormalization):
            assert not any(same[-2:]), f"the statistics of {layer.name} stayed, although it is thawed"
        elif layer.trainable_weights:
            assert not all(same), f"{layer.name} is thawed, and did not learn"
