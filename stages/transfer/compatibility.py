"""Check that choices in params.yaml are compatible: with the backbone (ONNX, KerasHub), and solver with views."""

from collections.abc import Sequence

from stages.base.errors import UserError
from stages.compute.architecture import A_GRAPH, Architecture


def check_compatibility(
    architecture: Architecture,
    *,
    pooling: str = "average",
    fresh: bool = False,
    runner: str = "auto",
    precision: str = "float32",
    initial: str = "new",
    formats: Sequence[str] = (),
) -> None:
    """Check that the backbone allows what is chosen.

    Args:
        architecture: of the backbone.
        pooling: ``extract.pooling``.
        fresh: whether ``extract.views`` is "fresh".
        runner: ``compute.frozen``.
        precision: ``compute.precision``.
        initial: ``finetune.head.initial``.
        formats: ``export.formats``.

    Raises:
        UserError: it does not: a line for each choice.
    """
    found = []
    shape = architecture.shape(architecture.output)
    if pooling == "first" and len(shape) != 2:
        kind = "a vector" if len(shape) == 1 else f"feature maps of {' x '.join(map(str, shape))}"
        found.append(
            f"extract.pooling: expected average, max or none, because the backbone ends in {kind}; received first, "
            f"which is for tokens."
        )
    others = [name for name in formats if name != "onnx"]
    choices = (  # that need the network in the framework
        (fresh, "extract.views", "a count", "fresh"),
        (runner == "keras", "compute.frozen", "auto or onnxruntime", runner),
        (precision != "float32", "compute.precision", "float32", precision),
        (initial != "new", "finetune.head.initial", "new", initial),
        (bool(others), "export.formats", "[onnx]", ", ".join(others)),
    )
    found += [
        f"{key}: expected {allowed}, because the backbone is {A_GRAPH}; received {value}."
        for wrong, key, allowed, value in choices
        if wrong and not architecture.trainable
    ]
    if architecture.of_hub and "keras" in formats:
        found.append(
            "export.formats: expected onnx, saved_model or litert, because Keras cannot load KerasHub's layers from a "
            ".keras file; received keras."
        )
    if found:
        raise UserError("\n".join(found))


def check_solver(solver: str, fresh: bool, mixed: bool) -> None:
    """Check that the head's solver supports the views that ``extract`` makes.

    Args:
        solver: ``finetune.head.solver``.
        fresh: whether each epoch draws new views, so that no features are stored.
        mixed: whether augmented views are mixed.

    Raises:
        UserError: it does not.
    """
    if solver == "logistic" and (fresh or mixed):
        key, why, remedy = (
            ("extract.views", "fresh stores no features", "extract.views to a count")
            if fresh
            else ("extract.augment", "mixup and cutmix make views of several classes", "both to 0")
        )
        raise UserError(
            f"finetune.head.solver: expected gradient, because {key}: {why}; received logistic. Set it to gradient, or "
            f"{remedy}."
        )
