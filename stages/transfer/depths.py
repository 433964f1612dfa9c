"""Depths of freezing: which activations ``extract`` keeps for them, and which of them ``finetune`` trains from."""

from collections.abc import Iterator, Mapping, Sequence

from stages.base.errors import UserError
from stages.compute.architecture import FEATURES, PIXELS, Architecture
from stages.transfer.activations import Description
from stages.transfer.freeze import Depth, boundary, frozen_count

AS_EXTRACTED = "extract"  # in finetune.thawed.freeze: the depth of extract.freeze


def depths(backbone: Architecture, freeze: int | str, others: Sequence[int | str]) -> list[Depth]:
    """Return the depth of ``extract.freeze``, then those of ``extract.depths``, the most frozen first, each once.

    Raises:
        UserError: one of them or more are none of this backbone: a line for each.
    """
    kept, wrong = [], []
    for key, value in [("extract.freeze", freeze), *(("extract.depths", other) for other in others)]:
        try:
            kept.append(boundary(backbone, value, key))
        except UserError as error:
            wrong.append(str(error))
    if wrong:
        raise UserError("\n".join(wrong))
    return list(dict.fromkeys([kept[0], *sorted(kept[1:], key=lambda depth: -depth.frozen)]))


def chosen(backbone: Architecture, kept: Sequence[Depth], freeze: int | str) -> Depth:
    """Return the depth that ``finetune.thawed.freeze`` means.

    Args:
        kept: the depths that can be trained.
        freeze: as ``extract.freeze``, or "extract" for the first of them.

    Raises:
        UserError: it is none of them, or no depth of this backbone.
    """
    key = "finetune.thawed.freeze"
    if freeze == AS_EXTRACTED:
        return kept[0]
    frozen = frozen_count(backbone, freeze, key)
    for depth in kept:
        if depth.frozen == frozen:
            return depth
    raise UserError(
        f"{key}: expected '{AS_EXTRACTED}', or a depth whose activations extract.freeze and extract.depths keep "
        f"(frozen layers: {', '.join(str(depth.frozen) for depth in kept)}); received {freeze!r}, which freezes "
        f"{frozen}. Add it to extract.depths."
    )


def lines(description: Description, shapes: Mapping[str, tuple[tuple[int, ...], str]]) -> Iterator[str]:
    """Go through one line a depth: what it freezes, what is kept for it (``shapes``: see ``activations.shapes``)."""
    for depth in description.depths:
        what = description.trains_from(depth)
        kept = f"the {what}" if what in (FEATURES, PIXELS) else f"what {what} puts out"
        shape = " x ".join(map(str, shapes[what][0]))
        yield f"{depth.frozen} of {description.layers} layers frozen; kept: {kept}, {shape}"


def from_text(text: str) -> int | str:
    """Return a value as of ``extract.freeze`` as params.yaml would hold it."""
    try:
        return int(text)
    except ValueError:
        return text


def distinct(backbone: Architecture, values: Sequence[int | str]) -> dict[int | str, int]:
    """Return how many layers each of ``values`` freezes.

    Raises:
        UserError: one of them is no depth of this backbone, or freezes as many as another.
    """
    found: dict[int, int | str] = {}
    for value in values:
        frozen = frozen_count(backbone, value, "depth")
        if frozen in found:
            raise UserError(
                f"depth: {found[frozen]} and {value} freeze the same {frozen} layers. Leave one of them out."
            )
        found[frozen] = value
    return {value: frozen for frozen, value in found.items()}


def gradually(backbone: Architecture, plan: Sequence[tuple[int, int | str]], least: int) -> dict[int, int]:
    """Return how many layers are frozen from which epoch on, epochs counted from 0.

    The gradual unfreezing of ULMFiT (Howard & Ruder 2018): the last block first, then one more at a time, so that what
    was learned before is not lost to the large gradients of a head that is new.

    Args:
        plan: pairs of an epoch, counted from 1, and a value as of ``extract.freeze``; [] for ``least`` from the start.
        least: layers that stay frozen throughout.

    Raises:
        UserError: there is no such block or layer, or it would thaw one of those.
    """
    counts: dict[int, int] = {}
    for epoch, freeze in plan:
        frozen = frozen_count(backbone, freeze, "finetune.thawed.gradual")
        if frozen < least:
            raise UserError(
                f"finetune.thawed.gradual: expected at least the {least} layers frozen that finetune.thawed.freeze "
                f"freezes; received freeze: {freeze} for epoch {epoch}, which freezes {frozen}."
            )
        counts[epoch - 1] = frozen
    return counts or {0: least}
