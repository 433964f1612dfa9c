"""The ``compute`` section of params.yaml."""

from typing import Annotated, Any, Literal

from pydantic import ValidationInfo, field_validator

from stages.base.params import Section, allowed


def _is_count(value: Any) -> bool:
    return value == "auto" or (isinstance(value, int) and value >= 1)


Count = Annotated[int | str, allowed(_is_count, "a count of 1 or more, or 'auto'")]


class Compute(Section):
    """The framework, the precision and the devices.

    Attributes:
        backend: of Keras.
        precision: of the backbone in training.
        frozen: the runtime of the frozen part, for training and validation images.
        devices: GPUs that share each training batch.
    """

    backend: Literal["tensorflow", "jax"]
    precision: Literal["float32", "bfloat16"]
    frozen: Literal["auto", "onnxruntime", "keras"]
    devices: Count

    @field_validator("frozen")
    @classmethod
    def _in_bfloat16(cls, value: str, info: ValidationInfo) -> str:
        if value == "onnxruntime" and info.data.get("precision") == "bfloat16":
            raise ValueError("expected 'auto' or 'keras' with precision: bfloat16, which ONNX Runtime does not compute")
        return value
