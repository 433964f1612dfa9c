"""Put networks together: pixels → preprocessing → backbone → pooling → head → logits, whole or cut at the boundary."""

from collections.abc import Callable, Sequence

import keras
from keras import layers

from stages.compute.architecture import FEATURES, PIXELS, pooled

# What each family of backbones was trained on. Keras's preprocess_input does the same to arrays, outside the network.
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPROCESSING: dict[str, Callable[[], list[Callable[[keras.KerasTensor], keras.KerasTensor]]]] = {
    "raw": lambda: [layers.Rescaling(1.0, name="preprocess")],
    "unit": lambda: [layers.Rescaling(1 / 255, name="preprocess")],
    "symmetric": lambda: [layers.Rescaling(1 / 127.5, offset=-1.0, name="preprocess")],
    "normalized": lambda: [
        layers.Rescaling(1 / 255, name="preprocess_rescale"),
        layers.Normalization(mean=_IMAGENET_MEAN, variance=[s**2 for s in _IMAGENET_STD], name="preprocess"),
    ],
    "caffe": lambda: [
        layers.Rescaling(1.0, name="preprocess_cast"),
        lambda x: keras.ops.take(x, (2, 1, 0), axis=-1),  # RGB → BGR
        layers.Normalization(mean=(103.939, 116.779, 123.68), variance=(1.0, 1.0, 1.0), name="preprocess"),
    ],
}

POOLINGS = {"average": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D, "none": layers.Flatten}


def pixels_input(size: int, channels: int) -> keras.KerasTensor:
    """Return the network's input: uint8 pixels 0-255, (n, size, size, channels)."""
    return keras.Input((size, size, channels), dtype="uint8", name="pixels")


def preprocess(pixels: keras.KerasTensor, mode: str) -> keras.KerasTensor:
    """Return ``pixels`` (raw, 0-255) as the backbones of ``mode``, a key of PREPROCESSING, want them."""
    for step in PREPROCESSING[mode]():
        pixels = step(pixels)
    return pixels


def pool(features: keras.KerasTensor, how: str) -> keras.KerasTensor:
    """Return feature maps (n, h, w, c) as vectors: ``average`` or ``max`` (n, c), ``none`` (n, h*w*c).

    Vectors are returned as they are.
    """
    if len(features.shape) == 2:
        return features
    return POOLINGS[how](name=f"pooling_{how}")(features)


def head(
    features: int,
    hidden: Sequence[int],
    dropout: float | Sequence[float],
    classes: int,
    batchnorm: bool = False,
    output: str = "softmax",
) -> keras.Model:
    """Return the classifier with new weights: (n, features) → logits (n, classes).

    Args:
        features: length of the vectors.
        hidden: units of each hidden layer, with ReLU.
        dropout: share of the outputs of each hidden layer that is dropped while training, in one number or one for each
            layer. One number without hidden layers: share of the features.
        classes: how many.
        batchnorm: whether BatchNormalization follows each hidden layer, before its dropout.
        output: ``softmax``, or ``sigmoid`` for two classes: one logit z of the second class, given as (0, z), so that a
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


def output_of(backbone: keras.Model, name: str) -> keras.KerasTensor:
    """Return what the layer or operation ``name`` puts out."""
    return next(operation for operation in backbone.operations if operation.name == name).output


def compute_in(backbone: keras.Model, precision: str) -> keras.Model:
    """Make ``backbone`` compute in ``precision``, float32 or bfloat16, and return it; its weights stay float32."""
    if precision != "float32":
        for layer in backbone.layers:
            layer.dtype_policy = f"mixed_{precision}"
    return backbone


def taps(backbone: keras.Model, preprocessing: str, layers_: Sequence[str]) -> keras.Model:
    """Return the network from pixels to all that may be kept, in one pass: a dictionary.

    Its keys are the names of ``layers_``, for what these put out, and ``features_average``, ``features_max`` and
    ``features_none``, for the output of the backbone pooled in each way.
    """
    pixels = pixels_input(*backbone.input_shape[-2:])
    tensors = [*(output_of(backbone, name) for name in layers_), backbone.output]
    *activations, last = keras.Model(backbone.input, tensors)(preprocess(pixels, preprocessing))
    outputs = dict(zip(layers_, activations, strict=True))
    return keras.Model(pixels, outputs | {pooled(how): pool(last, how) for how in POOLINGS}, name="taps")


def bottom(backbone: keras.Model, preprocessing: str, kept: Sequence[str], pooling: str) -> keras.Model:
    """Return the network from pixels to what is ``kept``, in one pass: a dictionary.

    Args:
        kept: names of layers, for what they put out; "features" for the pooled output of the backbone; "pixels" for the
            pixels themselves.
    """
    network = taps(backbone, preprocessing, [name for name in kept if name not in (PIXELS, FEATURES)])
    outputs = network.output | {PIXELS: network.input, FEATURES: network.output[pooled(pooling)]}
    return keras.Model(network.input, {name: outputs[name] for name in kept}, name="bottom")


def top(backbone: keras.Model, preprocessing: str, cut: str | None, pooling: str, head: keras.Model) -> keras.Model:
    """Return the network from what ``cut`` puts out (pixels, without a cut) to logits.

    It shares its layers with ``backbone`` and ``head``: training it trains them.
    """
    if cut is None:
        return network(backbone, preprocessing, pooling, head)
    tensor = output_of(backbone, cut)
    kept = keras.Input(tensor.shape[1:], name="activations")
    features = kept if tensor is backbone.output else keras.Model(tensor, backbone.output)(kept)
    return keras.Model(kept, head(pool(features, pooling)), name="top")


def network(backbone: keras.Model, preprocessing: str, pooling: str, head: keras.Model) -> keras.Model:
    """Return the network from pixels to logits. It shares its layers with ``backbone`` and ``head``."""
    pixels = pixels_input(*backbone.input_shape[-2:])
    features = pool(backbone(preprocess(pixels, preprocessing)), pooling)
    return keras.Model(pixels, head(features), name="thaw")
