"""Captions of the report's pictures and tables."""

CURVES = (
    "Training loss and accuracy are averaged over an epoch, while the weights still change; validation loss and "
    "accuracy are measured at its end."
)
CURVES_FITTED = " The head was fitted without epochs: its point shows the final weights."
CURVES_THAWED = " The thawed phase (shaded) starts from the head-only model."
PREDICTIONS = (
    "Below each test image: the fine-tuned model's prediction and confidence; below a mistake, also the true class."
)
PREDICTIONS_SEEN = " Next to it: the network's input."
MATRIX = (
    "Test images by actual class and the fine-tuned model's prediction. Color is the share of the actual class, on a "
    "square-root scale that makes rare mistakes visible."
)
CLASSES = "In %, the fine-tuned model's weakest class first; precision and recall are the fine-tuned model's."
VIEWS = (
    "A training image, and augmented views of it as the network received them; with fresh views, examples of what each "
    "epoch generates."
)
VIEWS_MIXED = " The shares under a view mixed from two images are its target."
NEAR = (
    "Pairs of images that look nearly the same: recompressed, resized or mirrored. split.near_duplicates says how they "
    "were handled."
)
