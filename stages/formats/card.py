"""``model.json``: inputs and outputs of an exported model, for people and for programs outside this project."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from stages.base.errors import UserError
from stages.base.files import write_json
from stages.compute.exported import DISTANCE, INPUT, OUTPUT, SIGNATURE
from stages.images.bit_depth import is_range
from stages.images.contract import Contract

# Format: its file in the folder. Readers prefer the first: it starts fastest, and quantized files come last.
FILES = {
    "onnx": "model.onnx",
    "litert": "model.tflite",
    "saved_model": "saved_model",
    "keras": "model.keras",
    "onnx_float16": "model.float16.onnx",
    "onnx_int8": "model.int8.onnx",
    "litert_float16": "model.float16.tflite",
    "litert_int8": "model.int8.tflite",
}
NAME = "model.json"
_DISTANCE = (
    f"{FILES['onnx']} has another output, '{DISTANCE}', float32, shape (n): above 1, the image is unlike all that was "
    f"learned, whatever its probabilities. "
)
PREPROCESS = "preprocess.py"  # from an image file to pixels
EXAMPLES = "examples"  # pictures with their pixels and probabilities


@dataclass(frozen=True)
class Card:
    """What all files of an export folder share.

    Attributes:
        classes: names, in the order of the probabilities.
        contract: how an image file becomes pixels.
        formats: keys of FILES, in that order.
        data: "source" and "license" of the training images, if known.
        calibration: "method", "temperature" and "images" (how many it was fitted on), if the model is calibrated.
        unknown: how the ONNX file tells images unlike all that was learned, if it does.
    """

    classes: list[str]
    contract: Contract
    formats: list[str]
    data: dict[str, str] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    unknown: dict[str, Any] = field(default_factory=dict)


def write_card(folder: Path, card: Card) -> None:
    """Write ``model.json``.

    Args:
        folder: of an exported model.
        card: to write.
    """
    write_json(folder / NAME, _content(card))


def make_metadata(card: Card) -> dict[str, str]:
    """Return metadata for a model file: classes and contract as JSON, and how to use it."""
    content = _content(card)
    return {key: json.dumps(content[key], ensure_ascii=False) for key in ("classes", "contract")} | {
        "statement": content["statement"]
    }


def _content(card: Card) -> dict[str, Any]:
    size, channels = card.contract.size, card.contract.channels
    return {
        "statement": describe_usage(card),
        "classes": card.classes,
        "contract": asdict(card.contract),
        "input": {"name": INPUT, "dtype": "uint8", "shape": ["n", size, size, channels]},
        "output": {"name": OUTPUT, "dtype": "float32", "shape": ["n", len(card.classes)]},
        "signature": SIGNATURE,
        "formats": {name: FILES[name] for name in card.formats},
        **({"data": card.data} if card.data else {}),
        **({"calibration": card.calibration} if card.calibration else {}),
        **({"unknown": card.unknown} if card.unknown else {}),
    }


def read_card(folder: Path) -> Card:
    """Read ``model.json``.

    Raises:
        UserError: there is none, or it is not that of an exported model.
    """
    path = folder / NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder} holds no exported model. Run `dvc repro export`, or `dvc pull`.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: expected JSON that can be read, received: {error}.") from None
    try:
        formats = [name for name in FILES if name in content["formats"]]
        card = TypeAdapter(Card).validate_python({**content, "formats": formats})
        contract = card.contract
        sound = contract.size > 0 and contract.channels in (1, 3) and (not contract.range or is_range(contract.range))
    except (KeyError, TypeError, ValidationError):
        sound = False
    if not sound or not card.classes or not card.formats:
        raise UserError(
            f"{path}: expected classes, contract and formats, as the export stage writes them; received something "
            f"else. Name the folder of an exported model, or run `dvc repro export`."
        )
    return card


def split_name(name: str) -> tuple[str, str]:
    """Return the format and the precision of a key of FILES.

    >>> split_name("onnx_int8"), split_name("saved_model")
    (('onnx', 'int8'), ('saved_model', 'float32'))
    """
    plain, _, precision = name.rpartition("_")
    return (plain, precision) if plain in FILES else (name, "float32")


def count_bytes(folder: Path, name: str) -> int:
    """Return the size of an exported file, or of all files of a SavedModel.

    Args:
        folder: of the exported model.
        name: of the format.
    """
    path = folder / FILES[name]
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


def find_model(path: Path) -> tuple[Path, str | None]:
    """Return the folder of an exported model, and the format if ``path`` is one of its files.

    >>> find_model(Path("data/export"))[1] is None
    True

    Args:
        path: of the folder, or of a file in it.
    """
    formats = {file: name for name, file in FILES.items()}
    if path.name in formats and (path.parent / NAME).is_file() and not (path / NAME).is_file():
        return path.parent, formats[path.name]
    return path, None


def describe_usage(card: Card) -> str:
    """Return a paragraph on how to get from an image file to its most probable class."""
    contract, size, classes = card.contract, card.contract.size, len(card.classes)
    distance = _DISTANCE if card.unknown else ""
    order = ", channels last (red, green, blue)" if contract.channels == 3 else ""
    return (
        f"Input of every file: a tensor '{INPUT}' of n images, uint8, shape (n, {size}, {size}, {contract.channels}), "
        f"values 0-255{order}. Output: '{OUTPUT}', float32, shape (n, {classes}), column j the probability of "
        f"classes[j]. {distance}Make the pixels of an image file with {PREPROCESS}, which comes with the model: "
        f"resizing in another way costs accuracy. Do not scale or normalize them: the model does. {EXAMPLES}/ holds "
        f"pictures with their pixels and probabilities, to check a program in another language. The LiteRT file has "
        f"n = 1 until its input is resized. The Keras file also accepts float32, and its tensors have other names."
    )
