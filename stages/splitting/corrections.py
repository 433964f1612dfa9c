"""Apply the corrections of labels (see ``correction_table``) to the images of a data set."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from stages.base.errors import UserError, shorten, suggest
from stages.sources.data_set import DataSet, Reject, join_names, normalize_name
from stages.splitting.correction_table import DROP, Correction, Corrections, contradict
from stages.splitting.examine import ExaminedImage
from stages.splitting.lock_table import DIGITS, LockTable

_LISTED = 5  # images in a message

Examined = ExaminedImage | Reject


@dataclass(frozen=True)
class Corrected:
    """What the corrections made of the images.

    Attributes:
        images: those that can be decoded, with their classes corrected.
        unreadable: the others.
        dropped: what the table drops.
        counts: of pictures: relabeled, dropped and confirmed.
        notes: lines to print.
    """

    images: list[ExaminedImage]
    unreadable: list[Reject]
    dropped: list[Reject]
    counts: dict[str, int]
    notes: list[str]


def check_corrections(corrections: Corrections, data_set: DataSet) -> None:
    """Check that the classes of the table exist, and the images that only a path identifies.

    Args:
        corrections: the table.
        data_set: whose labels they correct.

    Raises:
        UserError: one does not.
    """
    rows = [*corrections.by_pixels.values(), *corrections.by_path.values()]
    classes = set(data_set.classes)
    for row in rows:
        if row.label == DROP and DROP in classes:
            raise UserError(
                f"{corrections.path}, line {row.line}: '{DROP}' is a class of this data set, and the word that drops "
                f"an image. Expected another label: remove or move the file of {row.name} itself, or rename the class."
            )
        if row.label != DROP and row.label not in classes:
            raise UserError(
                f"{corrections.path}, line {row.line}: expected a class of the data set, or {DROP}; received "
                f"'{shorten(row.label)}'.{suggest(row.label, classes)}"
            )
    if corrections.by_path:
        known = {normalize_name(sample.source) for sample in data_set.samples}
        if lost := [row for row in corrections.by_path.values() if row.image not in known]:
            raise _miss(corrections, lost, suggest(lost[0].image, known) if len(known) < 10_000 else "")


def apply_corrections(
    corrections: Corrections, results: Sequence[Examined], classes: Collection[str], data_set: DataSet
) -> Corrected:
    """Apply the table.

    Args:
        corrections: the table.
        results: of examining the samples from ``Corrections.select``.
        classes: those that are learned.
        data_set: with all images.

    Raises:
        UserError: two rows contradict each other, or a row matches no image.
    """
    by_pixels = _resolve(corrections, results)
    images, unreadable, dropped = list[ExaminedImage](), list[Reject](), list[Reject]()
    effects: dict[str, str] = {}
    for result in results:
        if isinstance(result, Reject):
            row = corrections.by_path.get(normalize_name(result.source))
            if row and row.label == DROP:
                dropped.append(_drop(result.source, result.class_name, corrections))
                effects[row.image] = "dropped"
            else:
                unreadable.append(result)
            continue
        row, sample = by_pixels.get(result.pixels[:DIGITS]), result.sample
        if row and row.label == DROP:
            dropped.append(_drop(sample.source, sample.class_name, corrections))
            effects[result.pixels] = "dropped"
        elif row and row.label != sample.class_name:
            if row.label in classes:
                images.append(replace(result, sample=replace(sample, class_name=row.label, given=sample.class_name)))
            effects[result.pixels] = "relabeled"
        elif sample.class_name in classes:
            images.append(result)
            if row:
                effects.setdefault(result.pixels, "confirmed")
    counted = Counter(effects.values())
    counts = {effect: counted[effect] for effect in ("relabeled", "dropped", "confirmed")}
    outside = _count_outside(corrections, results, data_set, len(classes) < len(data_set.classes))
    return Corrected(images, unreadable, dropped, counts, list(_describe(corrections, counts, outside)))


def describe_locked(results: Iterable[Examined], corrected: Corrected, locked: LockTable) -> list[str]:
    """Return a line if labels of locked test images were corrected; none otherwise.

    Args:
        results: of examining the images.
        corrected: what became of them.
        locked: the lock table.
    """
    left = {entry.source for entry in corrected.dropped} | {i.sample.source for i in corrected.images if i.sample.given}
    images = [result for result in results if isinstance(result, ExaminedImage) and locked.is_test(result.pixels)]
    names = [image.sample.source for image in images if image.sample.source in left]
    if not names:
        return []
    said = f"{len(names)} of the corrected images are locked test images ({join_names(names, _LISTED)})"
    return [f"{said}: accuracies before and after are of different test labels"]


def _resolve(corrections: Corrections, results: Iterable[Examined]) -> dict[str, Correction]:
    """Return the row of each picture, by the first digits of its hash."""
    by_pixels = dict(corrections.by_pixels)
    for result in results if corrections.by_path else ():
        if isinstance(result, ExaminedImage):
            row = corrections.by_path.get(normalize_name(result.sample.source))
            if row and (other := by_pixels.setdefault(result.pixels[:DIGITS], row)).label != row.label:
                assert corrections.path
                raise contradict(corrections.path, other, row)
    return by_pixels


def _count_outside(corrections: Corrections, results: Iterable[Examined], data_set: DataSet, some: bool) -> int:
    """Return how many rows are of images whose classes are not learned.

    Args:
        corrections: the table.
        results: of examining the images.
        data_set: with all images.
        some: whether only some classes are learned.

    Raises:
        UserError: a row matches no image.
    """
    if not corrections.by_pixels and not corrections.by_path:
        return 0
    examined = [result for result in results if isinstance(result, ExaminedImage)]
    pixels = {image.pixels[:DIGITS] for image in examined}
    seen = {normalize_name(r.sample.source if isinstance(r, ExaminedImage) else r.source) for r in results}
    lacking = [row for digits, row in corrections.by_pixels.items() if digits not in pixels]
    if changed := [row for row in lacking if row.image in seen]:
        raise UserError(
            f"{corrections.path}, line {changed[0].line}: {changed[0].image} has other pixels than when this row was "
            f"written. Look at it again: then delete the hash of the row, or the row."
        )
    others = {normalize_name(sample.source) for sample in data_set.samples} - seen if lacking else set()
    if lost := [row for row in lacking if not some and row.image not in others]:
        raise _miss(corrections, lost)
    return len(lacking) + sum(row.image not in seen for row in corrections.by_path.values())


def _describe(corrections: Corrections, counts: Mapping[str, int], outside: int) -> Iterator[str]:
    if corrections.path is None:
        return
    changed = counts["relabeled"] + counts["dropped"]
    line = f"{changed} correction{'s' * (changed != 1)}: {counts['relabeled']} relabeled, {counts['dropped']} dropped"
    more = (
        (counts["confirmed"], "confirmed"),
        (len(corrections.undecided), "undecided"),
        (outside, "of other classes than split.classes"),
    )
    yield "; ".join([line, *(f"{count} {what}" for count, what in more if count)]) + f" (see {corrections.path})"


def _drop(source: str, class_name: str, corrections: Corrections) -> Reject:
    return Reject(source, class_name, f"dropped by {corrections.path}", "dropped")


def _miss(corrections: Corrections, rows: Sequence[Correction], hint: str = "") -> UserError:
    names = join_names([row.name for row in rows], _LISTED)
    count = f"{len(rows)} rows match" if len(rows) > 1 else "the row matches"
    return UserError(
        f"{corrections.path}, line {rows[0].line}: {count} no image of the data set: {names}.{hint} Expected paths as "
        f"in data/split, or hashes of pixels. Correct or delete what is of images that are gone."
    )
