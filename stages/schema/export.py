"""The ``export`` section of params.yaml."""

from typing import Annotated, Any

from pydantic import Field

from stages.base.params import Section, allowed

FORMATS = ("onnx", "litert", "saved_model")


def _is_formats(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(name in FORMATS for name in value)


class Export(Section):
    """Which files the fine-tuned model is written to, and how closely each must agree with it."""

    formats: Annotated[list[str], allowed(_is_formats, f"a list of one or more of {', '.join(FORMATS)}")]
    parity_images: Annotated[int, Field(ge=1)]
    max_difference: Annotated[float, Field(gt=0)]
