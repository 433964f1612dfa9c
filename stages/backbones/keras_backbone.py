"""Read the user's own Keras model as a backbone, and its classifier as a start for fine-tuning."""

from pathlib import Path
from typing import Any

from stages.backbones.families import find_blocks
from stages.backbones.pretrained import Pretrained
from stages.base.errors import UserError, shorten, summarize
from stages.base.files import refuse_damaged
from stages.compute.flattening import CutNetwork, cut_classifier, flatten
from stages.compute.graphs.convert import convert
from stages.compute.keras_files import load_model, read_json
from stages.compute.networks import Backbone, Model, Preprocessing, build_graph_network
from stages.schema.class_names import are_class_names
from stages.schema.pretrain import AUTO, RANGES, Pretrain

# In a .keras file that Thaw wrote.
CLASSES, CONTRACT = "classes.json", "contract.json"
_PREPROCESSING = dict(zip(RANGES, ("raw", "unit", "symmetric"), strict=True))


def read_keras_backbone(params: Pretrain, path: Path) -> Pretrained:
    """Return the network in a file as a backbone, with its classifier.

    Args:
        params: the section ``pretrain``.
        path: of the model.

    Raises:
        UserError: the file cannot be read; its network does not accept images of ``params.image_size``, or has a layer
            that graphs lack; or ``params`` rely on the file for something that it does not contain.
    """
    with refuse_damaged(path, "a model as Keras saves it", "Copy or save it again."):
        preprocessing = find_preprocessing(params, path)
        own = adopt_network(params, path, load_model(path), preprocessing)
        try:
            convert(build_graph_network(own.backbone, []))  # as write_pretrained does
        except UserError as error:
            raise UserError(f"{path}: {error} Replace it, or set pretrain.output to a layer before it.") from None
        return own


def adopt_network(params: Pretrain, path: Path, model: Model, preprocessing: Preprocessing) -> Pretrained:
    """Return a network as a backbone, with its classifier.

    Args:
        params: the section ``pretrain``.
        path: that it was read from, for messages.
        model: the network.
        preprocessing: of the pixels that it takes.

    Raises:
        UserError: it is no network of images of one size to classes, or lacks what ``params`` leave to it.
    """
    check_input(model, params.image_size, path)
    try:
        flat = flatten(model, params.image_size)
    except (UserError, ValueError, TypeError) as error:
        reason = summarize(error)
        raise _refused(path, f"the network does not accept images of {params.image_size} px: {reason}") from None
    network = cut_classifier(flat, None if params.output == AUTO else params.output, find_blocks)
    if network is None:
        raise _no_end(path, params.output, [layer.name for layer in flat.model.layers])
    if len(network.backbone.output_shape) not in (2, 3, 4) or None in network.backbone.output_shape[1:]:
        raise _refused(
            path,
            f"the output of the backbone would have the shape {network.backbone.output_shape[1:]}: expected feature "
            f"maps, tokens or a vector. Set pretrain.output to a layer with such an output",
        )
    channels = network.architecture.pixels[-1]
    if not isinstance(preprocessing, str) and len(preprocessing["mean"]) != channels:
        raise UserError(
            f"pretrain.pixels: expected mean and std for {channels} channel{'s' * (channels > 1)}, as in {path}; "
            f"received {len(preprocessing['mean'])}."
        )
    backbone = Backbone(network.backbone, network.architecture, preprocessing)
    return Pretrained(backbone, find_classes(params, path, network), network.weights)


def describe_keras_backbone(pretrained: Pretrained, path: Path) -> str:
    """Return a line that says what was read from a file."""
    backbone, classifier = pretrained.backbone, pretrained.backbone.architecture.classifier
    after = f"cut off: {', '.join(layer.name for layer in classifier)}" if classifier else "it has no classifier"
    contract = _read_own(path, CONTRACT) or {}
    made = ", ".join(f"{key}: {contract[key]}" for key in ("form", "polarity", "fit") if key in contract)
    return (
        f"{path.name}: the backbone ends at {backbone.architecture.output}, "
        f"{len(backbone.architecture.layers)} layers, {backbone.model.count_params():,} parameters; {after}"
        + f"; exported for images with {made} (compare split)"
        * bool(made)
    )


def find_second_scaling(pretrained: Pretrained) -> str | None:
    """Return a warning if the network scales pixels by itself and ``pretrain.pixels`` does so before it."""
    first = next((one for one in pretrained.backbone.architecture.operations[1:] if one.type != "Identity"), None)
    if pretrained.backbone.preprocessing == "raw" or first is None or first.type not in ("Rescaling", "Normalization"):
        return None
    return (
        f"warning: the network begins with {first.name} ({first.type}), and pretrain.pixels scales pixels before it. "
        f"Set it to {RANGES[0]}, unless both were done in its training."
    )


def find_preprocessing(params: Pretrain, path: Path) -> Preprocessing:
    """Return the preprocessing that scales pixels from 0-255 to the range that the network expects.

    Args:
        params: the section ``pretrain``.
        path: of the model.

    Raises:
        UserError: neither ``params`` nor the file specify it, or they differ.
    """
    if _read_own(path, CONTRACT) is not None:
        if params.pixels not in (AUTO, RANGES[0]):
            raise UserError(
                f"pretrain.pixels: expected {AUTO}, for {path} is Thaw's export, with its preprocessing inside; "
                f"received {params.pixels}."
            )
        return "raw"
    if isinstance(params.pixels, dict):
        return params.pixels
    if params.pixels != AUTO:
        return _PREPROCESSING[params.pixels]
    raise UserError(
        f"pretrain.pixels: {path} does not say which pixel range the model was trained on. Expected "
        f"{', '.join(RANGES)}, or {{mean: [...], std: [...]}}: 0-255 if it contains a Rescaling layer or was trained "
        f"on unscaled pixels, 0-1 after x / 255, -1-1 after x / 127.5 - 1."
    )


def find_classes(params: Pretrain, path: Path, network: CutNetwork) -> list[str] | None:
    """Return the class names of the classifier's outputs; None if they are unknown or there is no classifier.

    Args:
        params: the section ``pretrain``.
        path: of the model.
        network: the model, cut at its classifier.

    Raises:
        UserError: the number of names differs from the number of outputs.
    """
    if params.classes == AUTO:
        names: list[str] | None = _read_own(path, CLASSES) if network.weights is not None else None
        if names is not None and not (are_class_names(names) and all(isinstance(name, str) for name in names)):
            raise UserError(
                f"{path}: expected its {CLASSES} to be a list of two or more different names; received "
                f"{shorten(str(names))}. Export it again, or list the names in pretrain.classes."
            )
    else:
        names = [str(name) for name in params.classes]
    if names is None:
        return None
    if network.weights is None:
        raise UserError(
            f"pretrain.classes: expected {AUTO}, because {path} has no classifier (a Dense layer with softmax over the "
            f"classes, or with one sigmoid output for the second of two); received {len(names)} names."
        )
    if len(names) != (count := network.weights[0].shape[1]):
        raise UserError(
            f"pretrain.classes: expected {count} names, one for each output of {path}; received {len(names)}."
        )
    return names


def check_input(model: Model, side: int, path: Path) -> None:
    """Raise UserError unless a network accepts batches of any size of images of ``side`` pixels.

    Args:
        model: the network.
        side: of the images.
        path: of its file, for messages.
    """
    if not model.built or len(model.inputs) != 1 or len(model.outputs) != 1:
        count = f"{len(model.inputs)} inputs and {len(model.outputs)} outputs" if model.built else "no defined input"
        raise _refused(
            path,
            f"expected a model with one input and one output; received {count}. Save the part from the image to one "
            f"output: `keras.Model(image, output).save('NAME.keras')`",
        )
    shape = tuple(model.inputs[0].shape)
    if len(shape) != 4:
        raise _refused(
            path,
            f"expected an input (n, height, width, channels); received {shape}. Put `keras.Input((height, width, 1))` "
            f"and a Reshape layer before the model, and save both as one model",
        )
    if shape[-1] not in (1, 3):
        raise _refused(path, f"expected 1 channel (gray) or 3 (RGB), channels last; received an input {shape}")
    if shape[0] is not None:
        raise _refused(
            path,
            f"expected a variable batch size; received an input {shape}. Call the model on `keras.Input({shape[1:]})`, "
            f"and save both as one `keras.Model`",
        )
    if any(fixed not in (None, side) for fixed in shape[1:3]):
        if shape[1] == shape[2]:
            raise UserError(f"pretrain.image_size: {path} expects images of {shape[1]} px; received {side}.")
        raise _refused(path, f"expected square images; received an input of {shape[1]} x {shape[2]} px")
    kinds = {str(weight.dtype) for weight in model.weights if "count" not in weight.name}
    if others := sorted(kind for kind in kinds if "float" not in kind):
        raise _refused(
            path,
            f"expected floating-point weights; received {', '.join(others)}. Save the model before quantization",
        )


def _read_own(path: Path, name: str) -> Any:
    """Return the JSON that Thaw stored in a .keras file with the model; None if there is none."""
    return read_json(path, name) if path.suffix == ".keras" else None


def _no_end(path: Path, output: str, names: list[str]) -> UserError:
    listed = f"its last layers are {', '.join(names[-6:])}"
    if output == AUTO:
        return UserError(
            f"pretrain.output: the classifier of {path} is not a Dense layer on a vector, so its backbone "
            f"cannot be found. Expected the name of the backbone's last layer ({listed}); received {AUTO}."
        )
    return UserError(f"pretrain.output: {path} has no layer {output}; {listed}.")


def _refused(path: Path, reason: str) -> UserError:
    return UserError(f"pretrain.source: {path}: {reason}.")
