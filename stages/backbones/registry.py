"""The built-in backbones. To add one, add a row to BACKBONES.

Importing this module imports no framework; building a network does. Accuracies are as published: of the whole network
with its classifier, in percent of ImageNet's validation images.
"""

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.backbones import families as f
from stages.base.errors import UserError
from stages.compute.architecture import describe

if TYPE_CHECKING:
    from pathlib import Path

    from stages.compute.networks import Backbone, Model

KERAS_IO = "keras.io/api/applications"
README = "keras-team/keras-applications README (measured with Keras)"  # 100 minus its errors, single center crop
HOWARD = "Howard et al. 2019, in the docstring of keras.applications.MobileNetV3Large"
# EfficientNet's published weights normalize by the square root of the deviation where Keras without weights does not
# (tensorflow/tensorflow#49930); Keras adds this layer only when it loads them itself.
_DEVIATION = (0.229, 0.224, 0.225)
_MEAN = (0.485, 0.456, 0.406)


@dataclass(frozen=True)
class BackboneSpec:
    """A built-in backbone: a row of BACKBONES.

    Attributes:
        constructor: its name in keras.applications, or in ``stages.compute.applications``.
        family: preprocessing, smallest image and block names.
        native: side of the images that its weights were published for, in pixels.
        parameters: without classifier.
        depth: layers on the longest path, with activations and normalizations, as ``source`` counts them.
        top1: accuracy in percent; None if none is published.
        top5: likewise, of the five likeliest classes.
        source: of depth and accuracy.
        alpha: width of a MobileNet; None for others.
    """

    constructor: str
    family: f.Family
    native: int
    parameters: int
    depth: int | None = None
    top1: float | None = None
    top5: float | None = None
    source: str = KERAS_IO
    alpha: float | None = None

    @property
    def own(self) -> bool:
        """Whether it is defined in this project, without published weights."""
        return self.family.name == "own"

    @property
    def channels(self) -> int:
        """1 (gray) or 3 (RGB)."""
        return 1 if self.family is f.MNIST else 3

    @property
    def preprocessing(self) -> str:
        """A key of ``stages.compute.networks.PREPROCESSING``."""
        return self.family.preprocessing

    @property
    def smallest(self) -> int:
        """The smallest side of an image, in pixels."""
        return self.family.smallest

    def build(self, side: int) -> "Backbone":
        """Return the backbone for images of ``side`` pixels, with random weights."""
        # Here: both import the framework.
        from stages.compute.applications import build_model
        from stages.compute.networks import Backbone

        model = build_model(self.constructor, side, self.alpha, self._rescaling)
        blocks = self.family.blocks([layer.name for layer in model.layers])
        return Backbone(model, describe(model, blocks), self.preprocessing)

    def build_classifier(self, weights: "Path") -> "Model":
        """Return the network as it was published, from uint8 pixels of its native side to class probabilities.

        Args:
            weights: file of all its weights, including the classifier's.

        Raises:
            UserError: the file does not fit; see ``load_published``.
        """
        # Here: they import the framework.
        from stages.backbones.weights import load_published
        from stages.compute.applications import build_model
        from stages.compute.networks import from_pixels

        model = build_model(self.constructor, self.native, self.alpha, self._rescaling, classifier=True)
        load_published(model, weights, classifier=True)
        return from_pixels(model, self.preprocessing)

    @property
    def _rescaling(self) -> tuple[list[float], list[float]] | None:
        """Scale and offset before Keras's own first layers, as in the network that the weights were trained in."""
        if self.family is not f.EFFICIENTNET:
            return None
        scale = [deviation**-0.5 for deviation in _DEVIATION]
        return scale, [255 * mean * (1 - factor) for mean, factor in zip(_MEAN, scale, strict=True)]


BACKBONES = {
    "mnist_cnn": BackboneSpec("mnist_cnn", f.MNIST, 28, 692_672, source="LeCun's digits, as in many tutorials"),
    "three_conv_cnn": BackboneSpec("three_conv_cnn", f.OWN, 32, 93_248, source="CIFAR-10, as in many tutorials"),
    "vgg16": BackboneSpec("VGG16", f.VGG, 224, 14_714_688, 16, 71.3, 90.1),
    "vgg19": BackboneSpec("VGG19", f.VGG, 224, 20_024_384, 19, 71.3, 90.0),
    "resnet50": BackboneSpec("ResNet50", f.RESNET, 224, 23_587_712, 107, 74.9, 92.1),
    "resnet101": BackboneSpec("ResNet101", f.RESNET, 224, 42_658_176, 209, 76.4, 92.8),
    "resnet152": BackboneSpec("ResNet152", f.RESNET, 224, 58_370_944, 311, 76.6, 93.1),
    "resnet50_v2": BackboneSpec("ResNet50V2", f.RESNET_V2, 224, 23_564_800, 103, 76.0, 93.0),
    "resnet101_v2": BackboneSpec("ResNet101V2", f.RESNET_V2, 224, 42_626_560, 205, 77.2, 93.8),
    "resnet152_v2": BackboneSpec("ResNet152V2", f.RESNET_V2, 224, 58_331_648, 307, 78.0, 94.2),
    "inception_v3": BackboneSpec("InceptionV3", f.INCEPTION, 299, 21_802_784, 189, 77.9, 93.7),
    "inception_resnet_v2": BackboneSpec("InceptionResNetV2", f.INCEPTION_RESNET, 299, 54_336_736, 449, 80.3, 95.3),
    "xception": BackboneSpec("Xception", f.XCEPTION, 299, 20_861_480, 81, 79.0, 94.5),
    "mobilenet": BackboneSpec("MobileNet", f.MOBILENET, 224, 3_228_864, 55, 70.4, 89.5, alpha=1.0),
    "mobilenet_075": BackboneSpec("MobileNet", f.MOBILENET, 224, 1_832_976, 55, 68.4, 88.2, README, 0.75),
    "mobilenet_050": BackboneSpec("MobileNet", f.MOBILENET, 224, 829_536, 55, 64.3, 85.6, README, 0.5),
    "mobilenet_025": BackboneSpec("MobileNet", f.MOBILENET, 224, 218_544, 55, 51.6, 75.8, README, 0.25),
    "mobilenet_v2": BackboneSpec("MobileNetV2", f.MOBILENET_V2, 224, 2_257_984, 105, 71.3, 90.1, alpha=1.0),
    "mobilenet_v2_140": BackboneSpec("MobileNetV2", f.MOBILENET_V2, 224, 4_363_712, 105, 75.2, 92.4, README, 1.4),
    "mobilenet_v2_130": BackboneSpec("MobileNetV2", f.MOBILENET_V2, 224, 3_766_048, 105, 74.7, 92.1, README, 1.3),
    "mobilenet_v2_075": BackboneSpec("MobileNetV2", f.MOBILENET_V2, 224, 1_382_064, 105, 69.5, 89.2, README, 0.75),
    "mobilenet_v2_050": BackboneSpec("MobileNetV2", f.MOBILENET_V2, 224, 706_224, 105, 65.2, 86.1, README, 0.5),
    "mobilenet_v2_035": BackboneSpec("MobileNetV2", f.MOBILENET_V2, 224, 410_208, 105, 60.1, 82.4, README, 0.35),
    "mobilenet_v3_small": BackboneSpec("MobileNetV3Small", f.MOBILENET_V3, 224, 939_120, None, 68.1, None, HOWARD),
    "mobilenet_v3_large": BackboneSpec("MobileNetV3Large", f.MOBILENET_V3, 224, 2_996_352, None, 75.6, None, HOWARD),
    "densenet121": BackboneSpec("DenseNet121", f.DENSENET, 224, 7_037_504, 242, 75.0, 92.3),
    "densenet169": BackboneSpec("DenseNet169", f.DENSENET, 224, 12_642_880, 338, 76.2, 93.2),
    "densenet201": BackboneSpec("DenseNet201", f.DENSENET, 224, 18_321_984, 402, 77.3, 93.6),
    "efficientnet_b0": BackboneSpec("EfficientNetB0", f.EFFICIENTNET, 224, 4_049_571, 132, 77.1, 93.3),
    "efficientnet_b1": BackboneSpec("EfficientNetB1", f.EFFICIENTNET, 240, 6_575_239, 186, 79.1, 94.4),
    "efficientnet_b2": BackboneSpec("EfficientNetB2", f.EFFICIENTNET, 260, 7_768_569, 186, 80.1, 94.9),
    "efficientnet_b3": BackboneSpec("EfficientNetB3", f.EFFICIENTNET, 300, 10_783_535, 210, 81.6, 95.7),
    "efficientnet_b4": BackboneSpec("EfficientNetB4", f.EFFICIENTNET, 380, 17_673_823, 258, 82.9, 96.4),
    "efficientnet_b5": BackboneSpec("EfficientNetB5", f.EFFICIENTNET, 456, 28_513_527, 312, 83.6, 96.7),
    "efficientnet_b6": BackboneSpec("EfficientNetB6", f.EFFICIENTNET, 528, 40_960_143, 360, 84.0, 96.8),
    "efficientnet_b7": BackboneSpec("EfficientNetB7", f.EFFICIENTNET, 600, 64_097_687, 438, 84.3, 97.0),
    "efficientnet_v2_b0": BackboneSpec("EfficientNetV2B0", f.EFFICIENTNET_V2, 224, 5_919_312, None, 78.7, 94.3),
    "efficientnet_v2_b1": BackboneSpec("EfficientNetV2B1", f.EFFICIENTNET_V2, 240, 6_931_124, None, 79.8, 95.0),
    "efficientnet_v2_b2": BackboneSpec("EfficientNetV2B2", f.EFFICIENTNET_V2, 260, 8_769_374, None, 80.5, 95.1),
    "efficientnet_v2_b3": BackboneSpec("EfficientNetV2B3", f.EFFICIENTNET_V2, 300, 12_930_622, None, 82.0, 95.8),
    "efficientnet_v2_s": BackboneSpec("EfficientNetV2S", f.EFFICIENTNET_V2, 384, 20_331_360, None, 83.9, 96.7),
    "efficientnet_v2_m": BackboneSpec("EfficientNetV2M", f.EFFICIENTNET_V2, 480, 53_150_388, None, 85.3, 97.4),
    "efficientnet_v2_l": BackboneSpec("EfficientNetV2L", f.EFFICIENTNET_V2, 480, 117_746_848, None, 85.7, 97.5),
    "convnext_tiny": BackboneSpec("ConvNeXtTiny", f.CONVNEXT, 224, 27_820_128, None, 81.3),
    "convnext_small": BackboneSpec("ConvNeXtSmall", f.CONVNEXT, 224, 49_454_688, None, 82.3),
    "convnext_base": BackboneSpec("ConvNeXtBase", f.CONVNEXT, 224, 87_566_464, None, 85.3),
    "convnext_large": BackboneSpec("ConvNeXtLarge", f.CONVNEXT, 224, 196_230_336, None, 86.3),
    "convnext_xlarge": BackboneSpec("ConvNeXtXLarge", f.CONVNEXT, 224, 348_147_968, None, 86.7),
    "nasnet_mobile": BackboneSpec("NASNetMobile", f.NASNET, 224, 4_269_716, 389, 74.4, 91.9),
    "nasnet_large": BackboneSpec("NASNetLarge", f.NASNET, 331, 84_916_818, 533, 82.5, 96.0),
}


def find_backbone(name: str, side: int) -> BackboneSpec:
    """Return the row ``name``.

    Args:
        name: of a backbone.
        side: of the images, in pixels.

    Raises:
        UserError: there is no such backbone, or the images are too small for it.
    """
    if name not in BACKBONES:
        close = difflib.get_close_matches(name, BACKBONES, n=3)
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise UserError(
            f"pretrain.backbone: there is no backbone '{name}'. {hint}`python -m stages backbones` lists them, with "
            "their size and accuracy."
        )
    row = BACKBONES[name]
    if side < row.smallest:
        raise UserError(
            f"pretrain.image_size: {name} takes {row.smallest} px or more (it was made for {row.native}); "
            f"received {side}."
        )
    return row


def weights_item(name: str) -> str:
    """Return the name of the catalog item that holds the published weights of backbone ``name``."""
    return f"{name}_imagenet"


def classifier_item(name: str) -> str:
    """Return the name of the catalog item that holds the weights of ``name`` with its classifier."""
    return f"{name}_imagenet_top"
