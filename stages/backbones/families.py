"""Families of backbones: their preprocessing, smallest image, and the names of their blocks."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A family of backbones.

    Attributes:
        name: as its authors call it.
        preprocessing: a key of ``stages.compute.networks.PREPROCESSING``. ``raw`` if Keras's own network begins with
            the preprocessing: its layers stay, so that layers count as in keras.applications.
        smallest: smallest side of an image, in pixels.
        rules: from layer names to block names: (template, regular expression), where the template may use groups.
        ends: whether matching layers end a block instead of starting it; the block then starts after the previous
            one. For families whose other layers have only numbers (conv2d_7).
    """

    name: str
    preprocessing: str
    smallest: int
    rules: tuple[tuple[str, str], ...]
    ends: bool = False

    def blocks(self, layers: Sequence[str]) -> dict[str, str]:
        """Return the name of each block and of its first layer, from the input on.

        Args:
            layers: names of all layers of a network.
        """
        found: dict[str, str] = {}
        first = layers[1]  # after the input
        for index, layer in enumerate(layers):
            for template, pattern in self.rules:
                match = re.fullmatch(pattern, layer)
                if match and match.expand(template) not in found:
                    found[match.expand(template)] = first if self.ends else layer
                    first = layers[min(index + 1, len(layers) - 1)]
        return found


NUMBERED = ((r"block\1", r"block(\d+)_.*"),)
OWN = Family("own", "unit", 32, NUMBERED)
MNIST = Family("own", "unit", 8, (("conv", "conv"), ("dense", "dense")))
VGG = Family("VGG", "caffe", 32, NUMBERED)
XCEPTION = Family("Xception", "symmetric", 71, NUMBERED)
_STAGES = ((r"conv\1", r"conv(\d+)_.*"),)
RESNET = Family("ResNet", "caffe", 32, _STAGES)
RESNET_V2 = Family("ResNetV2", "symmetric", 32, _STAGES)
DENSENET = Family("DenseNet", "normalized", 32, _STAGES)
INCEPTION = Family(
    "Inception",
    "symmetric",
    75,
    (("stem", "max_pooling2d_1"), (r"mixed\1", r"mixed(\d+)")),
    ends=True,
)
INCEPTION_RESNET = Family(
    "InceptionResNet",
    "symmetric",
    75,
    (
        ("stem", "max_pooling2d_1"),
        (r"\1", "(mixed_5b|mixed_6a|mixed_7a)"),
        (r"\1", "(block35)_10_ac"),
        (r"\1", "(block17)_20_ac"),
        ("block8", "custom_scale_layer_39"),
        ("conv_7b", "conv_7b_ac"),
    ),
    ends=True,
)
MOBILENET = Family(
    "MobileNet",
    "symmetric",
    32,
    (("conv1", "conv1"), (r"block_\1", r"conv_(?:pad|dw)_(\d+)")),
)
MOBILENET_V2 = Family(
    "MobileNetV2",
    "symmetric",
    32,
    (("Conv1", "Conv1"), ("expanded_conv", "expanded_conv_.*"), (r"block_\1", r"block_(\d+)_.*"), ("Conv_1", "Conv_1")),
)
MOBILENET_V3 = Family(
    "MobileNetV3",
    "raw",
    32,
    (
        ("conv", "conv"),
        ("expanded_conv", r"expanded_conv_\D.*"),
        (r"expanded_conv_\1", r"expanded_conv_(\d+)_.*"),
        ("conv_1", "conv_1"),
    ),
)
_EFFICIENT = (("stem", "stem_conv(_pad)?"), (r"block\1", r"block(\d+)[a-z]_.*"), ("top", "top_conv"))
EFFICIENTNET = Family("EfficientNet", "raw", 32, _EFFICIENT)
EFFICIENTNET_V2 = Family("EfficientNetV2", "raw", 32, _EFFICIENT)
CONVNEXT = Family(
    "ConvNeXt",
    "raw",
    32,
    (
        ("stem", ".*_stem"),
        ("stage_0", ".*_stage_0_.*"),
        ("stage_1", ".*_downsampling_block_0"),
        ("stage_2", ".*_downsampling_block_1"),
        ("stage_3", ".*_downsampling_block_2"),
    ),
)
NASNET = Family(
    "NASNet",
    "symmetric",
    32,
    (
        ("stem", "reduction_concat_stem_2"),
        (r"cell_\1", r"normal_concat_(\d+)"),
        (r"reduce_\1", r"reduction_concat_reduce_(\d+)"),
    ),
    ends=True,
)
TRANSFORMER = Family("Transformer", "raw", 1, ((r"\1", r"(block_\d+)"),))

# Without OWN and MNIST: the first has NUMBERED in VGG, the names of the second are anybody's.
_FAMILIES = (
    VGG, XCEPTION, RESNET, DENSENET, INCEPTION, INCEPTION_RESNET, MOBILENET, MOBILENET_V2, MOBILENET_V3, EFFICIENTNET,
    CONVNEXT, NASNET, TRANSFORMER,
)  # fmt: skip


def find_blocks(layers: Sequence[str]) -> dict[str, str]:
    """Return the blocks of a network of unknown origin: of the first family that all its blocks' names are from.

    Args:
        layers: names of all layers of the network.
    """
    for family in _FAMILIES:
        if all(any(re.fullmatch(pattern, layer) for layer in layers) for _, pattern in family.rules):
            return family.blocks(layers)
    return {}
