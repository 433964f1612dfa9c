"""Load weights, published or the user's own, into a built-in backbone; report the layer that does not fit."""

import re
from collections.abc import Iterator
from pathlib import Path

import h5py

from stages.base.errors import UserError, summarize
from stages.base.hdf5 import check_hdf5
from stages.compute.networks import Model

Layer = tuple[str, list[tuple[int, ...]]]  # its name, and the shapes of its weights


def load_published(backbone: Model, path: Path, *, classifier: bool = False) -> None:
    """Load a weights file into ``backbone``.

    Args:
        backbone: its model.
        path: in the layout of ``keras.applications`` (``.h5``), or of Keras 3's ``save_weights`` (``.weights.h5``).
        classifier: whether the model and the file have one.

    Raises:
        UserError: the file is not a complete HDF5 file, or belongs to another network; the message names the file and
            the first layer that does not fit.
    """
    check_hdf5(path)
    try:
        with h5py.File(path) as file:
            group = file.get("model_weights", file)  # where a whole model was saved
            saved = list(_saved(group)) if _names(group, "layer_names") else None
            numbers = _numbers(file)
    except OSError:
        raise UserError(f"{path}: expected a whole HDF5 file with weights; {_content(path)}") from None
    except Exception as error:  # a file may hold anything: links to nowhere, references, names that are no text
        raise UserError(
            f"{path}: expected weights as Keras writes them; what it holds cannot be read ({_shorten(error)}). "
            f"Fetch or copy it again."
        ) from None
    if saved is not None:
        problem = _difference(list(_expected(backbone)), saved)
    elif numbers != backbone.count_params():
        count = f"it holds {numbers:,} numbers, the network {backbone.count_params():,}"
        problem = f"{count}{_top(numbers > backbone.count_params())}"
    else:
        problem = ""
    keras_3 = path.name.endswith(".weights.h5")
    if not problem and keras_3 != (saved is None):
        layout, name = ("Keras 3's", f"{path.stem}.weights.h5") if saved is None else ("the older", "NAME.h5")
        raise UserError(f"{path} is in {layout} layout, which Keras knows by the name: rename it to {name}.")
    if not problem:
        try:
            backbone.load_weights(path)
            return
        except Exception as error:
            problem = _reason(str(error)) or _shorten(error)
    wanted = (
        "with its classifier, not 'no_top'."
        if classifier
        else ("without classifier ('no_top'); check pretrain.backbone and pretrain.source.")
    )
    raise UserError(
        f"{path} does not fit the backbone {backbone.name}: {problem}. Expected the weights of exactly this network "
        f"{wanted}"
    )


def _expected(backbone: Model) -> Iterator[Layer]:
    """Yield the layers of ``backbone`` that have weights, in the order of the older layout."""
    for layer in backbone.layers:
        weights = layer.trainable_weights + layer.non_trainable_weights
        if weights:
            yield layer.name, [tuple(weight.shape) for weight in weights]


def _saved(group: h5py.Group) -> Iterator[Layer]:
    """Yield the layers in a file of the older layout that have weights."""
    for name in _names(group, "layer_names"):
        shapes = [tuple(group[name][weight].shape) for weight in _names(group[name], "weight_names")]
        if shapes:
            yield name, shapes


def _names(group: h5py.Group, key: str) -> list[str]:
    """Return the names that Keras stores with a group: in one attribute, or a long list in KEY0, KEY1, and so on."""
    attributes = [name for name in (key, *(f"{key}{n}" for n in range(len(group.attrs)))) if name in group.attrs]
    names = [name for attribute in attributes for name in group.attrs[attribute]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _difference(expected: list[Layer], saved: list[Layer]) -> str:
    """Say where the layers of a file differ from those of the network; "" if they do not."""
    for (layer, shapes), (name, found) in zip(expected, saved, strict=False):
        if shapes != found:
            number = next((n for n, pair in enumerate(zip(shapes, found, strict=False)) if pair[0] != pair[1]), 0)
            if len(shapes) != len(found):
                return f"layer {layer}: expected {len(shapes)} arrays, the file has {len(found)} (in its {name})"
            return f"layer {layer}: expected the shape {shapes[number]}, the file has {found[number]} (in its {name})"
    if len(expected) < len(saved):
        more = ", ".join(name for name, _ in saved[len(expected) :][:3])
        return f"after the last layer, {expected[-1][0]}, it continues with {more}{_top(True)}"
    if len(expected) > len(saved):
        return f"it ends before layer {expected[len(saved)][0]}"
    return ""


def _top(more: bool) -> str:
    return ": it seems to hold the classifier too, so take the 'no_top' file" if more else ""


def _numbers(file: h5py.File) -> int:
    """Return how many weights a file of Keras 3's layout holds, without the states of random generators."""
    sizes: list[int] = []

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and "seed_generator" not in name and not name.startswith("optimizer"):
            sizes.append(int(item.size))

    file.visititems(visit)
    return sum(sizes)


def _content(path: Path) -> str:
    """Say what is wrong with a file that HDF5 cannot open."""
    with path.open("rb") as file:
        start = file.read(512)
    size = f"{path.stat().st_size:,} bytes"
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return f"it is cut off after {size}. Fetch or copy it again."
    if start.lstrip()[:1] == b"<":
        return f"it is a web page of {size}. Download the file itself."
    return f"it is something else ({size}, beginning with {start[:8]!r})."


def _reason(text: str) -> str:
    """Return what Keras says about the first layer that does not fit."""
    layer = re.search(r"object <\w+ name=([^,>]+)", text)
    shapes = re.search(r"variable\.shape=(\([^)]*\)), Received: value\.shape=(\([^)]*\))", text)
    if layer and shapes:
        return f"layer {layer[1]}: expected the shape {shapes[1]}, the file has {shapes[2]}"
    lines = [line for line in text.splitlines() if line.strip() and "could not be loaded" not in line]
    return lines[0].rstrip(".") if lines else ""


def _shorten(error: Exception) -> str:
    return f"{type(error).__name__}: {summarize(error)}"
