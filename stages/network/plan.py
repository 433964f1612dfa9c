"""How a phase of fine-tuning trains, as params.yaml says."""

from stages.network.optimizers import Rule
from stages.network.train import Schedule
from stages.schema.finetune import Finetune, Head, Thawed


def schedule(params: Finetune, phase: Head | Thawed) -> Schedule:
    """Return how one phase trains."""
    return Schedule(
        *(phase.epochs, phase.learning_rate, params.batch_size, params.seed),
        params.checkpoint == "best",
        params.early_stopping,
        plateau_patience=params.plateau.patience,
        plateau_factor=params.plateau.factor,
        rule=Rule(**params.optimizer.model_dump()),
        kind=params.schedule.kind,
        warmup=params.schedule.warmup,
        label_smoothing=params.loss.label_smoothing,
        balanced=params.loss.class_weights == "balanced",
    )
