"""The temperatures that divide the logits of calibrated models, as ``finetune`` hands them on.

They are in the models already: in the weights and bias of each classifier. So only what compares a model with itself
before calibration, or describes it, reads them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages.base.files import read_json, refuse_damaged, write_json

_NAME = "calibration.json"


@dataclass(frozen=True)
class Calibration:
    """How models are calibrated (see ``stages.measure.temperature``).

    Attributes:
        images: validation images that the temperatures were fitted on; 0 if the models are not calibrated.
        temperatures: of ``head`` and ``finetuned``, as far as they were trained.
    """

    images: int
    temperatures: Mapping[str, float]


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Write ``calibration.json``, which models that are not calibrated lack."""
    write_json(folder / _NAME, asdict(calibration))


def read_calibration(folder: Path) -> Calibration:
    """Read ``calibration.json``.

    Raises:
        UserError: it is damaged.
    """
    path = folder / _NAME
    if not path.exists():
        return Calibration(0, {})
    content = read_json(path, "images", "temperatures")
    with refuse_damaged(path, "temperatures of models"):
        return Calibration(**content)


def describe_calibration(calibration: Calibration) -> dict[str, Any]:
    """Return what an exported model says of its calibration: method, temperature and images; {} if it has none."""
    if "finetuned" not in calibration.temperatures:
        return {}
    temperature = calibration.temperatures["finetuned"]
    return {"method": "temperature scaling", "temperature": temperature, "images": calibration.images}
