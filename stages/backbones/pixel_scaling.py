"""Find the pixel scaling that the user's own network expects: in params.yaml, or in the config next to the network."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from stages.base.errors import UserError
from stages.base.files import refuse_damaged
from stages.schema.pretrain import AUTO

# The configs that timm, Hugging Face and KerasHub save next to a network.
_TIMM, _HUGGING_FACE, _KERAS_HUB = "config.json", "preprocessor_config.json", "image_converter.json"
_KEY = "pretrain.pixels"
_RANGES = {"0-255": (1.0, 0.0), "0-1": (1 / 255, 0.0), "-1-1": (1 / 127.5, -1.0)}


@dataclass(frozen=True)
class Scaling:
    """How pixels are scaled: ``pixels * scale + offset``, with one number for all channels or one per channel."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]


class FoundScaling(NamedTuple):
    """A scaling, and the image size in the config, if any.

    Attributes:
        scaling: of the pixels.
        origin: of the scaling: a file, or ``pretrain.pixels``.
        side: of the images, in pixels; None if no config has it.
        config: the file that has it.
    """

    scaling: Scaling
    origin: str
    side: int | None = None
    config: str = ""


def find_scaling(pixels: str | Mapping[str, Sequence[float]], folder: Path | None) -> FoundScaling:
    """Return how pixels are scaled.

    Args:
        pixels: ``pretrain.pixels``.
        folder: of the network and its config; None if the source is a single file.

    Raises:
        UserError: neither params nor config have it, two configs differ, or one cannot be read.
    """
    configs = _read_configs(folder) if folder else []
    if pixels != AUTO:
        scale, offset = _RANGES[pixels] if isinstance(pixels, str) else (1.0, 0.0)
        scaling = Scaling((scale,), (offset,))
        if isinstance(pixels, Mapping):
            scaling = _normalize(1 / 255, pixels["mean"], pixels["std"])
        return next((one._replace(scaling=scaling, origin=_KEY) for one in configs), FoundScaling(scaling, _KEY))
    if not configs:
        raise UserError(
            "pretrain.pixels: the pixel range of the network is unknown. Set it to 0-255, 0-1, -1-1 or {mean: [...], "
            f"std: [...]}}; or move the network and its {_TIMM} (timm) or {_HUGGING_FACE} (Hugging Face) into a folder "
            "and set pretrain.source to the folder."
        )
    if len({found.scaling for found in configs}) > 1:
        names = " and ".join(found.origin for found in configs)
        raise UserError(f"pretrain.pixels: {names} differ. Set it to the pixel range that the network expects.")
    return configs[0]


def _read_configs(folder: Path) -> list[FoundScaling]:
    found = []
    for name, read in ((_TIMM, _read_timm), (_HUGGING_FACE, _read_hugging_face), (_KERAS_HUB, _read_keras_hub)):
        path = folder / name
        if path.is_file():
            with refuse_damaged(path, "the scaling of pixels", "Correct it, or remove it and set pretrain.pixels."):
                config = read(json.loads(path.read_text(encoding="utf-8")))
                if config and not (all(map(isfinite, config[0].scale + config[0].offset)) and min(config[0].scale) > 0):
                    raise ValueError(f"{config[0]}")
            if config:
                found.append(FoundScaling(config[0], name, config[1], name))
    return found


def _read_timm(config: Mapping[str, Any]) -> tuple[Scaling, int | None] | None:
    """Read ``mean`` and ``std``, in units of 0-1; a config.json of Hugging Face has none."""
    own = config.get("pretrained_cfg", config)
    if "mean" not in own:
        return None
    return _normalize(1 / 255, own["mean"], own["std"]), own["input_size"][-1] if "input_size" in own else None


def _read_hugging_face(config: Mapping[str, Any]) -> tuple[Scaling, int | None]:
    """Read an image processor's config: rescale, then normalize, each unless it is turned off."""
    if config.get("do_flip_channel_order"):
        raise UserError(f"{_HUGGING_FACE}: do_flip_channel_order: the network expects BGR; only RGB is supported.")
    factor = float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
    shift = -1.0 if config.get("rescale_offset") else 0.0
    mean, std = [0.0], [1.0]
    if config.get("do_normalize", True):
        mean, std = _listed(config["image_mean"]), _listed(config["image_std"])
    size = config.get("crop_size") if config.get("do_center_crop", "crop_size" in config) else config.get("size")
    if isinstance(size, Mapping):
        size = size.get("height", size.get("shortest_edge"))
    return _normalize(factor, [each - shift for each in mean], std), size if isinstance(size, int) else None


def _read_keras_hub(config: Mapping[str, Any]) -> tuple[Scaling, int | None]:
    """Read scale and offset of an image converter."""
    own = config["config"]
    scale, offset = _listed(own.get("scale") or 1.0), _listed(own.get("offset") or 0.0)
    count = max(len(scale), len(offset))
    scale, offset = (each * count if len(each) == 1 else each for each in (scale, offset))
    size = own.get("image_size")
    return Scaling(tuple(scale), tuple(offset)), size[0] if size else None


def _listed(numbers: Any) -> list[float]:
    return [float(each) for each in (numbers if isinstance(numbers, list) else [numbers])]


def _normalize(factor: float, mean: Sequence[float], std: Sequence[float]) -> Scaling:
    """Return (pixels * factor - mean) / std."""
    pairs = list(zip(_listed(list(mean)), _listed(list(std)), strict=True))
    return Scaling(tuple(factor / deviation for _, deviation in pairs), tuple(-m / deviation for m, deviation in pairs))


def to_preprocessing(scaling: Scaling) -> dict[str, list[float]]:
    """Return a scaling as the mean and standard deviation of each channel, for pixels scaled to 0-1."""
    std = [1 / (255 * scale) for scale in scaling.scale]
    mean = [0.0 - offset * deviation for offset, deviation in zip(scaling.offset, std, strict=True)]
    return {"mean": mean, "std": std}


def describe_found(found: FoundScaling, side: int) -> list[str]:
    """Return sentences on a scaling, and on images of another side.

    Args:
        found: the scaling.
        side: of the images, in pixels.
    """
    lines = [f"pixels scaled to 0-1, then normalized: {describe_scaling(found.scaling)} ({found.origin})"]
    if found.side not in (None, side):
        lines.append(f"note: {found.config} says {found.side} pixels, and pretrain.image_size is {side}")
    return lines


def describe_scaling(scaling: Scaling) -> str:
    """Return ``to_preprocessing`` in words."""
    parts = to_preprocessing(scaling).items()
    return " and ".join(f"{name} [{', '.join(f'{each:.4g}' for each in values)}]" for name, values in parts)
