"""The ``export`` section of params.yaml."""

import re
from typing import Annotated, Any

from pydantic import Field

from stages.base.params import Section, allowed

FORMATS = ("onnx", "litert", "saved_model", "keras")


def _is_formats(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(name in FORMATS for name in value)


def _is_license(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[a-z0-9]+([.-][a-z0-9]+)*", value))


class Export(Section):
    """The export formats, and how closely each exported model must agree with the fine-tuned one."""

    formats: Annotated[list[str], allowed(_is_formats, f"a list of one or more of {', '.join(FORMATS)}")]
    parity_images: Annotated[int, Field(ge=1)]
    max_difference: Annotated[float, Field(gt=0)]
    license: Annotated[
        str, allowed(_is_license, "an abbreviation as on Hugging Face, such as mit or cc-by-4.0, or unknown")
    ]
