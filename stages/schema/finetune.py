"""The ``finetune`` section of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from stages.base.params import Section

Epochs = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]


class Head(Section):
    """The new classifier, and how it is trained while the whole backbone is frozen."""

    initial: Literal["new", "source"]
    hidden: list[Annotated[int, Field(ge=1)]]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    epochs: Epochs
    learning_rate: Rate


class Thawed(Section):
    """How the head and the thawed layers are trained together afterwards."""

    epochs: Epochs
    learning_rate: Rate
    batchnorm: Literal["frozen", "train"]


class Plateau(Section):
    """When the learning rate is reduced because the validation loss stands still."""

    patience: Epochs
    factor: Annotated[float, Field(gt=0, lt=1)]


class Finetune(Section):
    """How the head and the thawed layers are trained."""

    head: Head
    thawed: Thawed
    batch_size: Annotated[int, Field(ge=1)]
    checkpoint: Literal["best", "last"]
    early_stopping: Epochs
    plateau: Plateau
    seed: Annotated[int, Field(ge=0)]
