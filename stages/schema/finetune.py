"""The ``finetune`` section of params.yaml."""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from stages.base.params import Section, Seed, allowed
from stages.schema.extract import Freeze, is_freeze

Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


def _is_dropout(value: Any) -> bool:
    return all(map(_is_share, value)) if isinstance(value, list) else _is_share(value)


class Head(Section):
    """The new classifier, and how it is trained while the whole backbone is frozen.

    Attributes:
        solver: ``logistic`` regression to convergence, or ``gradient`` steps of the optimizer.
        hidden: units of each hidden layer.
        dropout: rate after every hidden layer, or a list with one rate per hidden layer; without hidden layers, the
            rate of the features.
        batchnorm: whether each hidden layer is followed by BatchNormalization.
        output: ``softmax`` over one logit per class, or ``sigmoid`` of one logit for two classes.
    """

    initial: Literal["new", "source"]
    solver: Literal["logistic", "gradient"]
    hidden: list[Annotated[int, Field(ge=1)]]
    dropout: Annotated[
        float | list[float], allowed(_is_dropout, "a share from 0 to below 1, or a list of them, one per hidden layer")
    ]
    batchnorm: bool
    output: Literal["softmax", "sigmoid"]
    epochs: Count
    learning_rate: Rate

    @property
    def trains(self) -> bool:
        """Whether it is trained before the thawed layers."""
        return self.solver == "logistic" or self.epochs > 0

    @field_validator("solver")
    @classmethod
    def _starts_anew(cls, value: str, info: ValidationInfo) -> str:
        if value == "logistic" and info.data.get("initial") == "source":
            raise ValueError("expected gradient with initial: source; or set initial: new")
        return value

    @field_validator("hidden", "dropout", "batchnorm")
    @classmethod
    def _fits_the_solver(cls, value: Any, info: ValidationInfo) -> Any:
        if value and info.data.get("solver") == "logistic":
            plain = {"hidden": "[]", "dropout": "0.0", "batchnorm": "false"}[str(info.field_name)]
            raise ValueError(f"expected {plain} with solver: logistic; or set solver: gradient")
        return value

    @field_validator("hidden", "batchnorm", "output")
    @classmethod
    def _fits_the_source(cls, value: Any, info: ValidationInfo) -> Any:
        plain = {"hidden": [], "batchnorm": False, "output": "softmax"}[str(info.field_name)]
        if info.data.get("initial") == "source" and value != plain:
            raise ValueError(f"expected {str(plain).lower()} with initial: source; or set initial: new")
        return value

    @field_validator("dropout")
    @classmethod
    def _one_for_each_hidden_layer(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, list) and len(value) != len(info.data.get("hidden", value)):
            raise ValueError(f"expected one number, or one for each of hidden: {info.data['hidden']}")
        return value

    @field_validator("batchnorm")
    @classmethod
    def _after_hidden_layers(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("hidden") == []:
            raise ValueError("expected false with hidden: [], because it follows hidden layers")
        return value


class GradualStep(Section):
    """What is frozen from a given epoch of the thawed phase.

    Attributes:
        epoch: counted from 1.
        freeze: as in ``extract.freeze``.
    """

    epoch: Annotated[int, Field(ge=1)]
    freeze: Freeze


class Thawed(Section):
    """How the head and the thawed layers are then trained together.

    Attributes:
        freeze: one of ``extract.depths``, or ``extract`` for ``extract.freeze``.
        layer_decay: factor between the learning rates of each block of the backbone and the block above it.
        gradual: gradual unfreezing; [] to use ``freeze`` from the first epoch.
    """

    freeze: Annotated[
        int | str, allowed(is_freeze, "'extract' (as extract.freeze says), or one of the values in extract.depths")
    ]
    epochs: Count
    learning_rate: Rate
    batchnorm: Literal["frozen", "train"]
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    gradual: list[GradualStep]

    @property
    def plan(self) -> list[tuple[int, int | str]]:
        """The steps of gradual unfreezing, as ``stages.transfer.freeze.plan_unfreezing`` takes them."""
        return [(step.epoch, step.freeze) for step in self.gradual]

    @field_validator("gradual")
    @classmethod
    def _one_after_the_other(cls, value: list[GradualStep], info: ValidationInfo) -> list[GradualStep]:
        epochs = [step.epoch for step in value]
        if epochs and epochs[0] != 1:
            raise ValueError("expected the first step at epoch: 1")
        if any(later <= earlier for earlier, later in pairwise(epochs)):
            raise ValueError("expected epochs in ascending order")
        last = info.data.get("epochs")
        if epochs and last and epochs[-1] > last:
            raise ValueError(f"expected the last step within epochs: {last}")
        return value


class Optimizer(Section):
    """The optimizer.

    Attributes:
        momentum: of sgd.
        weight_decay: of adamw.
        clip_norm: maximum global norm of the gradients; 0: no clipping.
    """

    name: Literal["adam", "adamw", "sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0, lt=1)]
    clip_norm: Annotated[float, Field(ge=0)]

    @field_validator("weight_decay")
    @classmethod
    def _of_adamw(cls, value: float, info: ValidationInfo) -> float:
        if value and info.data.get("name", "adamw") != "adamw":
            raise ValueError("expected 0 unless name: adamw, the only one that decays weights")
        return value


class Schedule(Section):
    """The learning-rate schedule: ``warmup`` epochs, then ``constant``, or ``cosine`` decay to 0."""

    kind: Literal["constant", "cosine"]
    warmup: Count


class Loss(Section):
    """The training loss: cross-entropy with these options. The validation loss is always plain cross-entropy.

    Attributes:
        label_smoothing: share of each target that is spread over all classes.
        class_weights: ``balanced`` gives each class the same weight, however many images it has.
    """

    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    class_weights: Literal["none", "balanced"]


class Plateau(Section):
    """When to reduce the learning rate because the validation loss has stopped improving, and its lower limit."""

    patience: Count
    factor: Annotated[float, Field(gt=0, lt=1)]
    floor: Annotated[float, Field(ge=0)]


def _takes_steps(phase: Any) -> bool:
    """Return whether a phase, if valid, is trained by the optimizer."""
    return phase is not None and phase.epochs > 0 and getattr(phase, "solver", "gradient") == "gradient"


class Finetune(Section):
    """How the head and the thawed layers are trained."""

    head: Head
    thawed: Thawed
    optimizer: Optimizer
    schedule: Schedule
    loss: Loss
    batch_size: Annotated[int, Field(ge=1)]
    checkpoint: Literal["best", "best_accuracy", "last"]
    early_stopping: Count
    plateau: Plateau
    calibrate: Literal["none", "temperature"]
    seed: Seed

    @field_validator("batch_size")
    @classmethod
    def _several_for_batchnorm(cls, value: int, info: ValidationInfo) -> int:
        if value == 1 and "head" in info.data and info.data["head"].batchnorm:
            raise ValueError("expected 2 or more with head.batchnorm: true, because one image has no variance")
        return value

    @field_validator("schedule")
    @classmethod
    def _warm_before_the_end(cls, value: Schedule, info: ValidationInfo) -> Schedule:
        for name in ("head", "thawed"):
            phase: Any = info.data.get(name)
            if _takes_steps(phase) and value.warmup >= phase.epochs:
                raise ValueError(f"expected a warmup of fewer epochs than {name}.epochs: {phase.epochs}")
        return value

    @field_validator("loss")
    @classmethod
    def _of_whole_classes(cls, value: Loss, info: ValidationInfo) -> Loss:
        if value.label_smoothing and "head" in info.data and info.data["head"].solver == "logistic":
            raise ValueError("expected label_smoothing: 0 with head.solver: logistic; or set head.solver: gradient")
        return value

    @field_validator("plateau")
    @classmethod
    def _can_reduce(cls, value: Plateau, info: ValidationInfo) -> Plateau:
        if value.patience and "schedule" in info.data and info.data["schedule"].kind == "cosine":
            raise ValueError(
                "expected patience: 0 with schedule.kind: cosine: both lower the learning rate, so choose one"
            )
        for name in ("head", "thawed"):
            phase: Any = info.data.get(name)
            if value.patience and _takes_steps(phase) and value.floor >= phase.learning_rate:
                raise ValueError(f"expected a floor below {name}.learning_rate: {phase.learning_rate}")
        return value
