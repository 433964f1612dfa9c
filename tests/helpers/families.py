"""One member of each family of backbones, the smallest that has published weights."""

from typing import Any

import pytest

QUICK = ["mobilenet_025", "mobilenet_v2_035", "mobilenet_v3_small", "vgg16", "three_conv_cnn"]  # build within seconds
FAMILIES = [
    *QUICK,
    "resnet50",
    "resnet50_v2",
    "inception_v3",
    "inception_resnet_v2",
    "xception",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_b0",
    "convnext_tiny",
    "nasnet_mobile",
]
LARGE = ["inception_resnet_v2", "nasnet_mobile"]  # take as long as the others together


def mark_by_size(names: list[str]) -> list[Any]:
    """Return parameters of a test, the slower ones with marks."""
    marks = {name: pytest.mark.exhaustive if name in LARGE else pytest.mark.slow for name in FAMILIES[len(QUICK) :]}
    return [pytest.param(name, marks=marks.get(name, ())) for name in names]
