"""The ``finetune`` section of params.yaml."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.base.params import Section, Seed

Epochs = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]


class Head(Section):
    """The new classifier, and how it is trained while the whole backbone is frozen."""

    initial: Literal["new", "source"]
    hidden: list[Annotated[int, Field(ge=1)]]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    epochs: Epochs
    learning_rate: Rate

    @model_validator(mode="after")
    def _source_has_no_hidden_layers(self) -> Self:
        if self.initial == "source" and self.hidden:
            raise ValueError("expected hidden: [] with initial: source, whose classifier has no hidden layers")
        return self


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
    seed: Seed
