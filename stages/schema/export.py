"""The ``export`` section of params.yaml."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from stages.base.params import Section, allowed

FORMATS = ("onnx", "litert", "saved_model", "keras")
# What smaller files are made of, and the formats that have them.
PRECISIONS = ("float16", "int8")
QUANTIZED = ("onnx", "litert")


def _is_formats(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(name in FORMATS for name in value)


def _is_license(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[a-z0-9]+([.-][a-z0-9]+)*", value))


def _is_precisions(value: Any) -> bool:
    return isinstance(value, list) and all(name in PRECISIONS for name in value)


class Export(Section):
    """The export formats, and how closely each exported model must agree with the fine-tuned one."""

    formats: Annotated[list[str], allowed(_is_formats, f"a list of one or more of {', '.join(FORMATS)}")]
    parity_images: Annotated[int, Field(ge=1)]
    max_difference: Annotated[float, Field(gt=0)]
    license: Annotated[
        str, allowed(_is_license, "an abbreviation as on Hugging Face, such as mit or cc-by-4.0, or unknown")
    ]
    quantize: Annotated[list[str], allowed(_is_precisions, f"a list of {' and '.join(PRECISIONS)}, or []")]
    max_accuracy_loss: Annotated[float, Field(ge=0, lt=1)]
    unknown: Literal["none", "mahalanobis"]

    @field_validator("quantize")
    @classmethod
    def _has_a_format(cls, value: list[str], info: ValidationInfo) -> list[str]:
        formats = info.data.get("formats", QUANTIZED)
        if value and not set(formats) & set(QUANTIZED):
            raise ValueError(f"expected [] with formats: {', '.join(formats)}; only onnx and litert are quantized")
        return value

    @field_validator("unknown")
    @classmethod
    def _has_onnx(cls, value: str, info: ValidationInfo) -> str:
        formats = info.data.get("formats", FORMATS)
        if value != "none" and "onnx" not in formats:
            raise ValueError(f"expected none with formats: {', '.join(formats)}; only onnx has an output for it")
        return value
