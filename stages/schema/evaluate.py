"""The ``evaluate`` section of params.yaml."""

from typing import Annotated

from pydantic import Field

from stages.base.params import Section


class Evaluate(Section):
    """How the test metrics are computed."""

    confidence: Annotated[float, Field(gt=0, lt=1)]
    calibration_bins: Annotated[int, Field(ge=2)]
