"""The ``export`` section of params.yaml."""

from typing import Annotated, Any

from pydantic import Field

from stages.base.params import Section, allowed

FORMATS = ("onnx", "litert", "saved_model", "keras")


def _is_formats(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(name in FORMATS for name in value)


class Export(Section):
    """The export formats, and how closely each exported model must agree with the fine-tuned one."""

    formats: Annotated[list[str], allowed(_is_formats, f"a list of one or more of {', '.join(FORMATS)}")]
    parity_images: Annotated[int, Field(ge=1)]
    max_difference: Annotated[float, Field(gt=0)]
