"""What to freeze, and at which rate to train: rules of thumb with their reasons, before a run and after it.

The rules are those of the course CS231n (Stanford, "Transfer Learning"), after Yosinski et al. (NeurIPS 2014): by the
number of images, and by the likeness of source and target. How alike they are is measured: how well does a head on the
frozen features alone do (Kornblith et al., CVPR 2019, compare networks in this way)?
"""

from dataclasses import dataclass

FEW = 100  # training images per class, below which thawed layers tend to over-fit
ALIKE = 0.8  # of the way from chance to all validation images right, which a head on frozen features must reach
FEW_VALIDATION = 100  # images, below which a temperature that is fitted to them varies much with their draw
SMALL_BATCH = 16  # images, below which the statistics of a batch are noisy (Wu and He, ECCV 2018)

# By (many images, alike): what to freeze, and why.
_RULES = {
    (False, True): (
        "Freeze the whole backbone (extract.freeze: all)",
        "few images over-fit thawed layers, and the frozen features already tell the classes apart",
    ),
    (False, False): (
        "Thaw the last block only, with strong augmentation; or start from a backbone that learned more similar images",
        "the last layers are the most specific to the source, and few images cannot teach more of them",
    ),
    (True, True): (
        "Thaw the last blocks",
        "there are enough images to adapt them, and the earlier layers already fit",
    ),
    (True, False): (
        "Thaw most or all of the backbone (extract.freeze: none), and compare with training from scratch",
        "there are enough images to relearn what the source did not teach",
    ),
}


@dataclass(frozen=True)
class Run:
    """What the advice on a finished run rests on.

    Attributes:
        images: training images.
        classes: how many.
        validation: validation images.
        head_accuracy: of the head-only model on the validation images; None if it was not trained or measured.
        head_rate: learning rate of the head; None if it was fitted without one.
    """

    images: int
    classes: int
    validation: int
    head_accuracy: float | None
    head_rate: float | None


def suggest(run: Run) -> list[str]:
    """Return sentences on what to freeze and at which rate to train, each with its reason."""
    each = run.images / run.classes
    many = each >= FEW
    amount = f"{'many' if many else 'few'} images ({each:.0f} for training per class; the limit is {FEW})"
    if run.head_accuracy is None:
        return [
            f"There are {amount}. How alike source and target are cannot be told: no head was trained on the frozen "
            f"features alone and measured on validation images."
        ]
    chance = 1 / run.classes
    limit = chance + ALIKE * (1 - chance)
    alike = run.head_accuracy >= limit
    what, why = _RULES[many, alike]
    said = [
        f"{what}: there are {amount}, and source and target are {'alike' if alike else 'different'} (a head on the "
        f"frozen features gets {100 * run.head_accuracy:.1f} % of {run.validation} validation images right, where "
        f"chance is {100 * chance:.3g} %; the limit is {100 * limit:.1f} %). The reason: {why}."
    ]
    if many or not alike:
        said.append(_suggest_rate(run.head_rate))
    return said


def _suggest_rate(head_rate: float | None) -> str:
    if head_rate is None:
        rate = "0.0001 or less with Adam"
    else:
        low, high = (f"{head_rate / by:.7f}".rstrip("0") for by in (100, 10))
        rate = f"{low} to {high}, a hundredth to a tenth of the head's"
    return f"Train thawed layers at finetune.thawed.learning_rate {rate}, so that pretrained weights change little."


@dataclass(frozen=True)
class Plan:
    """What a warning before a run rests on.

    Attributes:
        images: training images per class; None if that is not a count.
        pretrained: whether the backbone has learned something.
        frozen: layers of the backbone that stay frozen.
        thawed: parameters that are thawed; 0 if nothing is.
        head_rate: learning rate of the head; None if it is not trained by gradient steps.
        thawed_rate: learning rate of the thawed phase.
        batch_size: images in a training step.
        trains_batchnorm: whether BatchNormalization layers are thawed and train.
        calibration: validation images that a temperature is fitted on; None if none is, or their number is not known.
    """

    images: int | None
    pretrained: bool
    frozen: int
    thawed: int
    head_rate: float | None
    thawed_rate: float
    batch_size: int
    trains_batchnorm: bool
    calibration: int | None = None


def warn(plan: Plan) -> list[str]:
    """Return a sentence for each choice that seldom works, with the reason."""
    found = []
    if plan.calibration is not None and plan.calibration < FEW_VALIDATION:
        found.append(
            f"finetune.calibrate: temperature is fitted on {plan.calibration} validation images, and with fewer than "
            f"{FEW_VALIDATION} it depends much on which ones these are. Set a larger split.val."
        )
    if not plan.thawed:
        return found
    if plan.images is not None and plan.images < FEW and plan.frozen == 0 and plan.pretrained:
        found.append(
            f"extract.freeze: nothing is frozen, so {plan.images} training images per class train {plan.thawed:,} "
            f"parameters, which will over-fit. Freeze more; with fewer than {FEW} images, start with all."
        )
    if plan.head_rate is not None and plan.pretrained and plan.thawed_rate >= plan.head_rate:
        found.append(
            f"finetune.thawed.learning_rate: {plan.thawed_rate:g} is not below the head's {plan.head_rate:g}. "
            f"{_suggest_rate(plan.head_rate)}"
        )
    if plan.trains_batchnorm and plan.batch_size < SMALL_BATCH:
        found.append(
            f"finetune.thawed.batchnorm: train with finetune.batch_size {plan.batch_size}: the statistics of fewer "
            f"than {SMALL_BATCH} images are noisy. Set batchnorm: frozen, or larger batches."
        )
    return found
