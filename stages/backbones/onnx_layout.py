"""Read the layout of an ONNX network from its declared inputs and outputs: where the channels are, what is pooled."""

from collections.abc import Mapping, Sequence

import onnx

from stages.base.errors import UserError
from stages.compute.graphs.shapes import dimensions

FLOATS = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.BFLOAT16,
)
Shapes = Mapping[str, tuple[int, ...]]


def find_input(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    """Return the input for images.

    Raises:
        UserError: there is none, there are several, or it is of another type.
    """
    weights = {tensor.name for tensor in graph.initializer}  # old files list them among the inputs
    inputs = [one for one in graph.input if one.name not in weights]
    if len(inputs) != 1:
        raise UserError(
            f"expected one input, for images; received {len(inputs)}{_list([one.name for one in inputs])}. Export the "
            f"image encoder only."
        )
    image: onnx.ValueInfoProto = inputs[0]
    kind = image.type.tensor_type.elem_type
    if kind not in (*FLOATS, onnx.TensorProto.UINT8):
        name = onnx.TensorProto.DataType.Name(kind).lower()
        raise UserError(f"expected a floating-point or uint8 input; {image.name} is {name}.")
    return image


def find_layout(image: onnx.ValueInfoProto) -> tuple[bool, int | None]:
    """Return whether the input is channels first, and the number of channels (None if it is variable).

    If the number is variable, as in exports by Hugging Face's optimum, the dimension is recognized by its name.

    Raises:
        UserError: its declared shape is ambiguous.
    """
    shape = dimensions(image)
    places = [place for place in (1, 3) if len(shape) == 4 and _is_channels(shape[place])]
    if len(places) != 1:
        raise UserError(
            f"expected an input (n, channels, height, width) or (n, height, width, channels) with 1 or 3 channels; "
            f"{image.name} is declared as {format_shape(shape)}. Export it with a fixed image shape, such as "
            f"(n, 3, 224, 224)."
        )
    found = shape[places[0]]
    return places[0] == 1, found if isinstance(found, int) else None


def check_side(image: onnx.ValueInfoProto, channels_first: bool, side: int) -> None:
    """Raise UserError unless the input accepts images of ``side`` pixels."""
    shape = dimensions(image)
    height, width = shape[2:] if channels_first else shape[1:3]
    fixed = {one for one in (height, width) if isinstance(one, int)}
    if len(fixed) == 2:
        raise UserError(f"expected a network for square images; this one expects {height} x {width} pixels.")
    if fixed - {side}:
        raise UserError(
            f"pretrain.image_size: this network expects images of {min(fixed)} pixels; received {side}. Set it to "
            f"{min(fixed)}, or export the network for {side}."
        )


def list_outputs(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the floating-point outputs."""
    return [one.name for one in graph.output if one.type.tensor_type.elem_type in FLOATS]


def choose_output(shapes: Shapes, images: int) -> str:
    """Return the name of the only output that can be used as features.

    Args:
        shapes: of the outputs, by name.
        images: the batch size of the shapes.

    Raises:
        UserError: there is none, or there are several.
    """
    usable = [name for name, shape in shapes.items() if 2 <= len(shape) <= 4 and shape[0] == images]
    if len(usable) == 1:
        return usable[0]
    listed = ", ".join(f"{name} {format_shape(['n', *shapes[name][1:]])}" for name in usable)
    if usable:
        raise UserError(f"it has several outputs: {listed}. Set pretrain.output to one of them.")
    found = ", ".join(f"{name} {format_shape(list(shape))}" for name, shape in shapes.items())
    raise UserError(
        f"expected an output of feature maps (four dimensions), tokens (n, tokens, channels) or vectors (n, "
        f"channels); received {f'{found} for {images} images' if found else 'none'}."
    )


def are_channels_first(name: str, shape: Sequence[int]) -> bool:
    """Return whether feature maps are channels first, given that the maps of square images are square.

    Raises:
        UserError: both layouts are possible.
    """
    _, first, middle, last = shape
    if (middle == last) == (first == middle):
        raise UserError(
            f"pretrain.output: {name} has the shape {format_shape(['n', *shape[1:]])}: its channels may be first or "
            f"last. Choose another output."
        )
    return middle == last


def format_shape(shape: Sequence[int | str]) -> str:
    """Return a shape as text."""
    return f"({', '.join(map(str, shape))})"


def _is_channels(dimension: int | str) -> bool:
    return dimension in (1, 3) if isinstance(dimension, int) else "channel" in dimension.lower()


def _list(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if names else ""
