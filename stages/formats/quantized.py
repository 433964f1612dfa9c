"""Quantized files: which there are, and how much accuracy they lose."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from stages.base.errors import UserError
from stages.base.terminal import format_size, show_progress
from stages.formats.card import FILES, count_bytes, split_name
from stages.formats.runner import BATCH, Runner
from stages.images.contract import Contract
from stages.images.load import load_all
from stages.images.representative import choose_balanced
from stages.images.split_file import SplitFile
from stages.measure.intervals import measure_difference

# Images to calibrate int8 with; TensorFlow's guide takes 100 to 500.
CALIBRATION_IMAGES = 200


@dataclass(frozen=True)
class Loss:
    """How a quantized file compares with the float32 file on the same images.

    Attributes:
        bytes: size of the file.
        accuracy: share of images that it gets right.
        difference: its accuracy minus that of the float32 file.
        low: end of the interval of that difference.
        high: the other end.
        lost: images that only the float32 file gets right.
        won: images that only the quantized file gets right.
    """

    bytes: int
    accuracy: float
    difference: float
    low: float
    high: float
    lost: int
    won: int


@dataclass(frozen=True)
class Losses:
    """How quantized files compare with the float32 file.

    Attributes:
        images: validation images that all were measured on.
        confidence: of the intervals.
        reference: the float32 format.
        accuracy: share of images that it gets right.
        formats: the quantized ones, by name.
    """

    images: int
    confidence: float
    reference: str
    accuracy: float
    formats: dict[str, Loss]


def list_quantized(formats: Sequence[str], precisions: Sequence[str]) -> list[str]:
    """Return the quantized formats, in the order of FILES.

    >>> list_quantized(["keras", "onnx"], ["int8", "float16"])
    ['onnx_float16', 'onnx_int8']

    Args:
        formats: ``export.formats``.
        precisions: ``export.quantize``.
    """
    wanted = {f"{name}_{precision}" for name in formats for precision in precisions}
    return [name for name in FILES if name in wanted]


def refuse_without_validation(images: int) -> None:
    """Raise UserError if there are no validation images, without which nobody knows what a quantized file loses.

    Training images would not tell: the network has learned them. Test images must not choose a file.

    Args:
        images: in the validation split.
    """
    if not images:
        raise UserError(
            "export.quantize: expected [] without validation images, which show how much accuracy a quantized file "
            "loses. Set split.val above 0, or quantize to []."
        )


def load_representatives(train: SplitFile, contract: Contract) -> np.ndarray:
    """Return the pixels of the images to calibrate int8 with, uint8 (images, size, size, channels).

    Args:
        train: the training split.
        contract: how an image file becomes pixels.
    """
    rows = choose_balanced(train.labels(), CALIBRATION_IMAGES).tolist()
    wanted, images = set(rows), train.images(0, rows[-1] + 1)
    return np.stack(list(load_all((image for row, image in enumerate(images) if row in wanted), contract)))


def measure_losses(
    folder: Path, reference: str, quantized: Sequence[str], validation: SplitFile, confidence: float
) -> Losses:
    """Compare the quantized files with a float32 file on the validation images.

    Args:
        folder: of the exported model.
        reference: the float32 format.
        quantized: the quantized ones.
        validation: the split, of one image or more.
        confidence: of the intervals.
    """
    runners = {name: Runner(folder, name) for name in (reference, *quantized)}
    images = load_all(validation.images(), runners[reference].contract)
    right = _predict(runners, iter(show_progress(images, "comparing", len(validation))), validation.labels())
    sizes = {name: count_bytes(folder, name) for name in quantized}
    losses = {name: _measure(sizes[name], right[reference], right[name], confidence) for name in quantized}
    return Losses(len(validation), confidence, reference, float(right[reference].mean()), losses)


def _predict(runners: dict[str, Runner], images: Iterator[np.ndarray], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return for each model whether it is right about each image, which is loaded once."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in runners}
    while batch := list(islice(images, BATCH)):
        for name, runner in runners.items():
            found[name].append(runner.probabilities(np.stack(batch)).argmax(axis=1))
    return {name: np.concatenate(parts) == labels for name, parts in found.items()}


def _measure(size: int, before: np.ndarray, after: np.ndarray, confidence: float) -> Loss:
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    return Loss(size, float(after.mean()), *measure_difference(before, after, confidence), lost, won)


def describe_losses(folder: Path, losses: Losses) -> Iterator[str]:
    """Yield a line for each quantized file, for the terminal.

    Args:
        folder: that the lines name.
        losses: to describe.
    """
    for name, loss in losses.formats.items():
        yield (
            f"{folder / FILES[name]}: {format_size(loss.bytes)}; {loss.accuracy:.1%} of {losses.images} validation "
            f"images right, {losses.accuracy:.1%} in float32: {100 * loss.difference:+.1f} points "
            f"({losses.confidence:.0%} interval {100 * loss.low:+.1f} to {100 * loss.high:+.1f})"
        )


def check_losses(losses: Losses, bound: float) -> None:
    """Refuse quantized files that lose more accuracy than allowed.

    The difference itself decides: an interval would refuse no file, or every one, where validation images are few.

    Args:
        losses: to check.
        bound: the largest loss allowed.

    Raises:
        UserError: with a line for each file.
    """
    one = 1 / losses.images
    few = f" One of {losses.images} images is {one:.2g}; more validation images tell more." if one > bound else ""
    found = [
        f"{name}: expected at most {bound:g} less accuracy on the validation images than in float32, received "
        f"{-loss.difference:.2g} less ({loss.accuracy:.2%} for {losses.accuracy:.2%}, {losses.images} images). Leave "
        f"{split_name(name)[1]} out of export.quantize, or raise export.max_accuracy_loss.{few}"
        for name, loss in losses.formats.items()
        if -loss.difference > bound
    ]
    if found:
        raise UserError("\n".join(found))
