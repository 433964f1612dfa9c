"""The ``report`` section of params.yaml."""

from typing import Annotated

from pydantic import Field

from stages.base.params import Section


class Report(Section):
    """How much the report shows."""

    samples: Annotated[int, Field(ge=1, le=100)]
    predictions: Annotated[int, Field(ge=1, le=100)]
