"""The ``pretrain`` section of params.yaml."""

from typing import Annotated

from pydantic import Field

from stages.base.params import Section, Seed
from stages.images.contract import Form, Polarity


class Pretrain(Section):
    """Where the backbone and its weights come from."""

    source: str
    backbone: str
    image_size: Annotated[int, Field(ge=8, le=4096)]
    form: Form
    polarity: Polarity
    epochs: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    seed: Seed
