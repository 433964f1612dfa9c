"""Depths of freezing: which activations ``extract`` keeps for them, and which of them ``finetune`` trains from."""

from collections.abc import Iterator, Mapping, Sequence

import keras

from stages.base.stage import UserError
from stages.network.freeze import boundary, frozen_count
from stages.network.kept import AS_EXTRACTED, FEATURES, PIXELS, Depth, Description, not_kept


def depths(
    backbone: keras.Model, blocks: Mapping[str, str], freeze: int | str, others: Sequence[int | str], fresh: bool
) -> list[Depth]:
    """Return the depth of ``extract.freeze`` and those of ``extract.depths``, each value once.

    Args:
        blocks: names of the backbone's blocks, each with its first layer.
        fresh: whether views are fresh, so that pixels alone are kept.

    Raises:
        UserError: one of them or more are none of this backbone: a line for each.
    """
    found = {freeze: "extract.freeze"} | {other: "extract.depths" for other in others if other != freeze}
    cuts, wrong = {}, []
    for value, key in found.items():
        try:
            cuts[value] = boundary(backbone, value, blocks, key)
        except UserError as error:
            wrong.append(str(error))
    if wrong:
        raise UserError("\n".join(wrong))
    return [Depth(value, cut.frozen, None if fresh else cut.layer) for value, cut in cuts.items()]


def chosen(
    kept: Sequence[Depth], freeze: int | str, fresh: bool, backbone: keras.Model, blocks: Mapping[str, str]
) -> Depth:
    """Return the depth that ``finetune.thawed.freeze`` means.

    Args:
        kept: the depths whose activations are kept.
        freeze: one of their values, or "extract" for the first.
        fresh: whether views are fresh: from their pixels any depth of the backbone can be trained.
        blocks: names of the backbone's blocks, each with its first layer.

    Raises:
        UserError: nothing is kept from which it can be trained.
    """
    if freeze == AS_EXTRACTED:
        return kept[0]
    for depth in kept:
        if depth.freeze == freeze:
            return depth
    if fresh:
        return Depth(freeze, boundary(backbone, freeze, blocks, "finetune.thawed.freeze").frozen, None)
    raise UserError(not_kept(freeze, [depth.freeze for depth in kept]))


def lines(description: Description, shapes: Mapping[str, tuple[tuple[int, ...], str]]) -> Iterator[str]:
    """Go through one line a depth: what it freezes, and what is kept for it (see ``stages.network.kept.shapes``)."""
    for depth in description.depths:
        what = depth.kept if depth.kept in shapes else FEATURES
        kept = f"the {what}" if what in (FEATURES, PIXELS) else f"what {what} puts out"
        shape = " x ".join(map(str, shapes[what][0]))
        yield f"freeze: {depth.freeze}: {depth.frozen} of {description.layers} layers frozen; kept: {kept}, {shape}"


def from_text(text: str) -> int | str:
    """Return a value as of ``extract.freeze`` as params.yaml would hold it."""
    try:
        return int(text)
    except ValueError:
        return text


def distinct(backbone: keras.Model, blocks: Mapping[str, str], values: Sequence[int | str]) -> dict[int | str, int]:
    """Return how many layers each of ``values`` freezes.

    Raises:
        UserError: one of them is no depth of this backbone, or freezes as many as another.
    """
    names = [layer.name for layer in backbone.layers]
    found: dict[int, int | str] = {}
    for value in values:
        frozen = frozen_count(names, value, blocks, "depth")
        if frozen in found:
            raise UserError(
                f"depth: {found[frozen]} and {value} freeze the same {frozen} layers. Leave one of them out."
            )
        found[frozen] = value
    return {value: frozen for frozen, value in found.items()}
