"""Captions of the report's pictures and tables."""

import pandas as pd

from stages.training.history import describe_training_accuracy

CURVES = (
    "Training loss and accuracy are averaged over an epoch, while the weights still change; validation loss and "
    "accuracy are measured at its end."
)
CURVES_FITTED = " The head was fitted without epochs: its point shows the final weights."
CURVES_CALIBRATED = " Curves are those of the model before calibration."
CURVES_THAWED = " The thawed phase (shaded) starts from the head-only model."
PREDICTIONS = "Below each test image: {model}'s prediction and confidence; below a mistake, also the true class."
PREDICTIONS_SEEN = " Next to it: the network's input."
MATRIX = (
    "Test images by actual class and {model}'s prediction. Color is the share of the actual class, on a "
    "square-root scale that makes rare mistakes visible."
)
RELIABILITY = (
    "Test images in bins of confidence: a point below the line means that {model} is right less often than it is "
    "confident. Intervals are wide where a bin has few images."
)
RELIABILITY_CALIBRATED = (
    " One number, fitted on the validation images, divides all logits (temperature scaling, Guo et al. 2017). It "
    "changes no prediction; the rings are the model without it."
)
EVIDENCE = {
    "class activation": (
        "The brighter a place, the more it adds to the logit of the class, compared with the mean of all classes. The "
        "maps are exact: the network ends in pooling and a linear head (class activation maps, Zhou et al. 2016)."
    ),
    "occlusion": (
        "The brighter a place, the more the odds of the class fall when a square of the image's median color covers it "
        "(occlusion, Zeiler and Fergus 2014)."
    ),
}
EVIDENCE_ACTUAL = " For a mistake, the third picture shows what speaks for the actual class, on the same scale."
CLASSES = "In %, the class with the lowest F1 first."
CLASSES_TWO = " Order, precision and recall are those of the fine-tuned model."
VIEWS = "A training image, and the augmented views of it that the network received."
VIEWS_FRESH = "A training image, and examples of its augmented views: each epoch draws new ones."
VIEWS_MIXED = " The shares under a view mixed from two images are its target."
NEAR = (
    "Pairs of images that look nearly the same: recompressed, resized or mirrored. split.near_duplicates says how they "
    "were handled."
)


def explain_curves(history: pd.DataFrame, *, thawed: bool, dropout: bool, augmented: bool) -> str:
    """Return the caption of the learning curves.

    Args:
        history: of all phases.
        thawed: whether anything was trained after the head.
        dropout: whether layers drop units in training.
        augmented: whether training images are augmented.
    """
    text = CURVES + CURVES_FITTED * bool(history["learning_rate"].isna().any()) + CURVES_THAWED * thawed
    reason = describe_training_accuracy(dropout, augmented) if history["val_accuracy"].notna().any() else ""
    return f"{text} {reason[0].upper()}{reason[1:]}." if reason else text
