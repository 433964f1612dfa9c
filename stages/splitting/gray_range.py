"""Choose the range of gray values of more than 8 bits, from the training images alone."""

from collections.abc import Iterator, Mapping, Sequence

from stages.images.bit_depth import find_range, format_range
from stages.images.contract import Range
from stages.splitting.examine import ExaminedImage


def choose_range(asked: str | Sequence[float], training: Sequence[ExaminedImage]) -> Range | None:
    """Return the contract's range.

    Args:
        asked: ``split.range``.
        training: the training images.
    """
    if isinstance(asked, str):
        return find_range(image.extent for image in training if image.extent) if asked == "auto" else None
    low, high = asked
    return low, high


def describe_range(
    values: Range | None, asked: str | Sequence[float], splits: Mapping[str, Sequence[ExaminedImage]]
) -> Iterator[str]:
    """Yield lines about a range: how it was found, and how many images exceed it; none if all images have 8 bits.

    Args:
        values: the range.
        asked: ``split.range``.
        splits: the images of each split.
    """
    extents = {name: [image.extent for image in members if image.extent] for name, members in splits.items()}
    deep = [extent for found in extents.values() for extent in found]
    if not deep:
        return
    training = len(extents["train"])
    images = f"{training} training image{'s' * (training != 1)}"
    found = f"of {images} of more than 8 bits" if training else "no training image has more than 8 bits"
    yield f"range: {format_range(values)}, {found if asked == 'auto' else 'as split.range says'}"
    if beyond := sum(not extent.within(values) for extent in deep):
        yield f"{beyond} of {len(deep)} images of more than 8 bits have values outside it, which are clipped"
