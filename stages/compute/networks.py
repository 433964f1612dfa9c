"""Build networks: pixels → preprocessing → backbone → pooling → head → logits, as a whole or cut at a freeze depth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from stages.compute.architecture import FEATURES, PIXELS, Architecture, name_features
from stages.compute.runtime import keras

layers = keras.layers
Model: TypeAlias = keras.Model

Step = Callable[[keras.KerasTensor], keras.KerasTensor]
Preprocessing: TypeAlias = str | Mapping[str, Sequence[float]]


def normalize(mean: Sequence[float], std: Sequence[float]) -> list[Step]:
    """Return layers that turn pixels 0-255 into (x / 255 - mean) / std, as in torchvision and timm.

    Args:
        mean: of each channel, in units of 0-1 pixels.
        std: likewise.
    """
    return [
        layers.Rescaling(1 / 255, name="preprocess_rescale"),
        layers.Normalization(mean=tuple(mean), variance=[s**2 for s in std], name="preprocess"),
    ]


# What each family of backbones was trained on. Keras's preprocess_input does the same to arrays, outside the network.
PREPROCESSING: dict[str, Callable[[], list[Step]]] = {
    "raw": lambda: [layers.Rescaling(1.0, name="preprocess")],
    "unit": lambda: [layers.Rescaling(1 / 255, name="preprocess")],
    "symmetric": lambda: [layers.Rescaling(1 / 127.5, offset=-1.0, name="preprocess")],
    "normalized": lambda: normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": lambda: [
        layers.Rescaling(1.0, name="preprocess_cast"),
        lambda x: keras.ops.take(x, (2, 1, 0), axis=-1),  # RGB → BGR
        layers.Normalization(mean=(103.939, 116.779, 123.68), variance=(1.0, 1.0, 1.0), name="preprocess"),
    ],
}

_POOL_MAPS = {"average": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D, "none": layers.Flatten}
_POOL_TOKENS = {"average": layers.GlobalAveragePooling1D, "max": layers.GlobalMaxPooling1D, "none": layers.Flatten}
POOLINGS = (*_POOL_TOKENS, "first")


@dataclass(frozen=True)
class Backbone:
    """A backbone: what turns images into features, without a classifier.

    Attributes:
        model: from preprocessed images (n, side, side, channels) to feature maps or vectors, with weights.
        architecture: its layers and blocks.
        preprocessing: key of PREPROCESSING, or ``mean`` and ``std`` of each channel, in units of 0-1 pixels.
    """

    model: Model
    architecture: Architecture
    preprocessing: Preprocessing


def pixels_input(size: int, channels: int) -> keras.KerasTensor:
    """Return the network's input: uint8 pixels 0-255, (n, size, size, channels)."""
    return keras.Input((size, size, channels), dtype="uint8", name="pixels")


def preprocess(pixels: keras.KerasTensor, mode: Preprocessing) -> keras.KerasTensor:
    """Return ``pixels`` (raw, 0-255) preprocessed as ``mode`` says; see ``Backbone``."""
    steps = PREPROCESSING[mode]() if isinstance(mode, str) else normalize(mode["mean"], mode["std"])
    for step in steps:
        pixels = step(pixels)
    return pixels


def pool(features: keras.KerasTensor, how: str) -> keras.KerasTensor:
    """Return feature maps (n, h, w, c) as vectors: ``average`` or ``max`` (n, c), ``none`` (n, h*w*c).

    Of tokens (n, t, c), ``first`` (n, c) is the first. Vectors are returned unchanged.
    """
    if len(features.shape) == 2:
        return features
    if how == "first":
        return features[:, 0]
    pools = _POOL_MAPS if len(features.shape) == 4 else _POOL_TOKENS
    return pools[how](name=f"pooling_{how}")(features)


def build_head(
    features: int,
    *,
    classes: int,
    hidden: Sequence[int] = (),
    dropout: float | Sequence[float] = 0.0,
    batchnorm: bool = False,
    output: str = "softmax",
) -> Model:
    """Return the classifier with new weights: (n, features) → logits (n, classes).

    Args:
        features: length of the vectors.
        classes: how many.
        hidden: units of each hidden layer, with ReLU.
        dropout: rate after each hidden layer, as one number or one per layer. Without hidden layers: of the features.
        batchnorm: whether BatchNormalization follows each hidden layer, before its dropout.
        output: ``softmax``, or ``sigmoid`` for two classes: one logit z of the second class, returned as (0, z): a
            softmax over both is the sigmoid of z.
    """
    x = inputs = keras.Input((features,), name="features")
    shares = list(dropout) if isinstance(dropout, Sequence) else [dropout] * max(len(hidden), 1)
    for number, share in enumerate(shares, start=1):
        if hidden:
            x = layers.Dense(hidden[number - 1], activation="relu", name=f"head_dense_{number}")(x)
        if hidden and batchnorm:
            x = layers.BatchNormalization(name=f"head_batchnorm_{number}")(x)
        if share:
            x = layers.Dropout(share, name=f"head_dropout_{number}")(x)
    if output == "sigmoid":
        z = layers.Dense(1, name="classifier")(x)
        x = layers.Concatenate(name="logits")([layers.Rescaling(0.0, name="zero")(z), z])
    else:
        x = layers.Dense(classes, name="classifier")(x)
    return keras.Model(inputs, x, name="head")


def set_precision(model: Model, precision: str) -> None:
    """Make the layers of ``model`` compute in ``precision``, float32 or bfloat16; its weights stay float32."""
    if precision != "float32":
        for layer in model._flatten_layers(include_self=False):
            layer.dtype_policy = f"mixed_{precision}"


def build_graph_network(backbone: Backbone, outputs: Sequence[str]) -> Model:
    """Return the network from pixels to everything that can be stored, in one pass.

    Args:
        backbone: shares its layers with the network.
        outputs: names of layers or operations.

    Returns:
        A model whose outputs are a dictionary: those of ``outputs``, and ``features_average``, ``features_max``,
        ``features_none`` and, of tokens, ``features_first``: the output of the backbone pooled in each way.
    """
    model = backbone.model
    pixels = pixels_input(*model.input_shape[-2:])
    tensors = [*(_output_of(model, name) for name in outputs), model.output]
    *activations, last = keras.Model(model.input, tensors)(preprocess(pixels, backbone.preprocessing))
    named = dict(zip(outputs, activations, strict=True))
    poolings = [how for how in POOLINGS if how != "first" or len(last.shape) == 3]
    return keras.Model(pixels, named | {name_features(how): pool(last, how) for how in poolings}, name="taps")


def build_frozen_part(backbone: Backbone, outputs: Sequence[str], pooling: str) -> Model:
    """Return the network from pixels to a dictionary of ``outputs``, in one pass.

    Args:
        backbone: shares its layers with the network.
        outputs: names of layers or operations; "features" for the pooled output of the backbone; "pixels" for the
            pixels themselves.
        pooling: see ``pool``.
    """
    network = build_graph_network(backbone, [name for name in outputs if name not in (PIXELS, FEATURES)])
    tensors = network.output | {PIXELS: network.input, FEATURES: network.output[name_features(pooling)]}
    return keras.Model(network.input, {name: tensors[name] for name in outputs}, name="bottom")


def build_trainable_part(backbone: Backbone, layer: str | None, pooling: str, head: Model) -> Model:
    """Return the network from the output of ``layer`` to logits. Training it trains the backbone and the head.

    Args:
        backbone: shares its layers with the network.
        layer: name of a layer or operation that every path goes through; None for the network from pixels.
        pooling: see ``pool``.
        head: from features to logits; shares its layers with the network.
    """
    if layer is None:
        return build_network(backbone, pooling, head)
    tensor, last = _output_of(backbone.model, layer), backbone.model.output
    activations = keras.Input(tensor.shape[1:], name="activations")
    features = activations if tensor is last else keras.Model(tensor, last)(activations)
    return keras.Model(activations, head(pool(features, pooling)), name="top")  # its weights file holds this name


def from_pixels(model: Model, preprocessing: Preprocessing) -> Model:
    """Return a model from uint8 pixels: preprocessing, then ``model``."""
    pixels = pixels_input(*model.input_shape[-2:])
    return keras.Model(pixels, model(preprocess(pixels, preprocessing)), name="from_pixels")


def build_network(backbone: Backbone, pooling: str, head: Model) -> Model:
    """Return the network from pixels to logits.

    Args:
        backbone: shares its layers with the network.
        pooling: see ``pool``.
        head: from features to logits; shares its layers with the network.
    """
    pixels = pixels_input(*backbone.model.input_shape[-2:])
    features = pool(backbone.model(preprocess(pixels, backbone.preprocessing)), pooling)
    return keras.Model(pixels, head(features), name="thaw")


def _output_of(model: Model, name: str) -> keras.KerasTensor:
    return next(operation for operation in model.operations if operation.name == name).output
