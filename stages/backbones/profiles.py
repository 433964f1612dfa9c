"""A profile of each family of built-in backbones, and when to choose it."""

from dataclasses import dataclass

# For each family in the documentation of Keras 2 (keras-team/keras, docs/templates/applications.md), which is the last
# place where Keras states licenses of its weights. It names no license for families that came later.
LICENSES = "docs/templates/applications.md of Keras 2"
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Profile:
    """A description of a family.

    Attributes:
        year: of the paper's first version.
        paper: its number on arxiv.org.
        license: of the published weights, as LICENSES states it; NOT_STATED if it does not.
        character: in a few words.
        choose: when to choose it, as the end of "choose it when".
    """

    year: int
    paper: str
    license: str
    character: str
    choose: str


# By Family.name. Tests check these claims against the accuracies and sizes in ``BACKBONES``.
PROFILES = {
    "VGG": Profile(2014, "1409.1556", "CC BY 4.0", "plain, slow", "you follow a tutorial, or want one chain of layers"),
    "ResNet": Profile(2015, "1512.03385", "MIT", "residual", "you want a baseline that others know"),
    "ResNetV2": Profile(
        2016, "1603.05027", "BSD", "ResNet, activations first", "you want ResNet, a little more accurate"
    ),
    "Inception": Profile(
        2015, "1512.00567", "Apache-2.0", "parallel convolutions", "you follow a tutorial, or have images of 299 px"
    ),
    "InceptionResNet": Profile(
        2016, "1602.07261", "Apache-2.0", "large, deep, slow", "you want over 80 % top-1 and a stated license"
    ),
    "Xception": Profile(
        2016, "1610.02357", "MIT", "separable convolutions", "you want more than ResNet-50's accuracy at its size"
    ),
    "MobileNet": Profile(
        2017, "1704.04861", "Apache-2.0", "small, for phones", "the network must be tiny: 0.2 million parameters"
    ),
    "MobileNetV2": Profile(
        2018, "1801.04381", "Apache-2.0", "small, for phones", "you start out, have no GPU, or deploy to phones"
    ),
    "MobileNetV3": Profile(
        2019, "1905.02244", NOT_STATED, "small, for phones", "phones need more accuracy than MobileNetV2 has"
    ),
    "DenseNet": Profile(
        2016, "1608.06993", "BSD-3-Clause", "densely connected", "you want ResNet-50's accuracy in a third of its size"
    ),
    "EfficientNet": Profile(
        2019, "1905.11946", NOT_STATED, "from small (B0) to large (B7)", "you want much accuracy for each parameter"
    ),
    "EfficientNetV2": Profile(
        2021, "2104.00298", NOT_STATED, "EfficientNet, faster to train", "accuracy counts, and you have a GPU"
    ),
    "ConvNeXt": Profile(2022, "2201.03545", NOT_STATED, "large", "accuracy counts most, and you have a GPU"),
    "NASNet": Profile(
        2017, "1707.07012", "Apache-2.0", "few freeze depths", "you want the most accuracy with a stated license"
    ),
}
