"""What the report says about its pictures and tables."""

CURVES = (
    "Training values are means over an epoch in which the weights still change, and over all views; validation values "
    "are taken after it."
)
CURVES_THAWED = " The thawed phase (shaded) starts from the kept epoch of the first."
PREDICTIONS = (
    "Under each test image: what the fine-tuned model took it for and how sure it was; under mistakes, what it is."
)
PREDICTIONS_SEEN = " Beside it: what the network sees."
MATRIX = (
    "Of the fine-tuned model, in test images. The color is the share of the actual class, on a square-root scale that "
    "lets rare mistakes be seen."
)
CLASSES = (
    "The weakest class of the fine-tuned model comes first; precision and recall are the fine-tuned model's. In %."
)
VIEWS = (
    "A training image, and augmented views of it as they went into the network; with fresh views, such as each epoch "
    "drew anew."
)
VIEWS_MIXED = " Where a view is mixed of two images, the shares under it are what the network was to answer."
NEAR = (
    "Pairs that were found to show nearly the same: recompressed, resized or mirrored. split.near_duplicates says what "
    "became of them."
)
