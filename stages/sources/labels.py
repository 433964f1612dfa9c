"""Read images with classes from a table.

Files are matched by their path, or by any unique end of it. The suffix may be missing, as in Kaggle's tables.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from stages.base.errors import UserError
from stages.base.splits import SPLITS, Part
from stages.sources.columns import ONE_CLASS, refuse_several
from stages.sources.data_set import DataSet, Kind, Reject, Sample, normalize_name
from stages.sources.parts import recognize_part
from stages.sources.tables import SHOWN, Labels, TableRow, find_part, find_tables, read_rows
from stages.sources.tree import Folder, is_image, sort_naturally

MOST = 0.05  # share of images with several labels up to which they count as mistakes in a table of single labels


def read_labeled(root: Folder, outer: Folder, labels: Labels, parts: Mapping[str, str] | str, where: str) -> DataSet:
    """Read a data set with classes from a table.

    Args:
        root: the folder of the images.
        outer: the folder of the table, which may be beside an archive of the images.
        labels: the table.
        parts: see ``assign_parts``.
        where: the data set's name in messages.

    Raises:
        UserError: the table is missing or invalid, or has no files, no labels, or several labels per image.
    """
    tables = {labels.name: labels.file} if labels.file else find_tables(root, outer, labels.name, where)
    rows, notes = list[TableRow](), list[str]()
    for path, table in tables.items():
        folder = "" if labels.file else path.rpartition("/")[0]
        rows += read_rows(table, path, folder, labels.columns, notes)
    refuse_several({row.label for row in rows}, labels.name)
    index = _Index(root)
    found: dict[str, list[TableRow]] = {}
    left_out = []
    for row in rows:
        path, reason = index.find(row)
        if reason := reason or ("" if row.label else "no label"):
            left_out.append(Reject(f"{labels.name}, row {row.number}: {row.file}", row.label, reason, "unlabeled"))
        else:
            found.setdefault(path, []).append(row)
    chosen = _drop_repeats(found, labels.name, left_out)
    samples = [Sample(path, row.label, None, index.files[path].read, row.group) for path, row in sorted(chosen.items())]
    places = {path: (path, row.split) for path, row in chosen.items()}
    left_out += _find_unlisted(root, found, labels.name)
    return divide_samples(samples, places, parts, labels.name, left_out, notes)


def divide_samples(
    samples: Sequence[Sample],
    places: Mapping[str, tuple[str, str]],
    parts: Mapping[str, str] | str,
    table: str,
    left_out: Sequence[Reject],
    notes: Sequence[str] = (),
) -> DataSet:
    """Return the data set of samples whose parts a table names.

    Args:
        samples: the images, without parts.
        places: see ``assign_parts``; by the source of each sample.
        parts: see ``assign_parts``.
        table: the table's name in messages.
        left_out: the rows and images that cannot be used; images in no part are added.
        notes: for the user.

    Raises:
        UserError: see ``assign_parts``.
    """
    division = assign_parts(places, parts, table)
    excluded = [
        Reject(sample.source, sample.class_name, "not in any of split.parts", "unlisted")
        for sample in samples
        if sample.source not in division
    ]
    divided = [replace(sample, part=division[sample.source]) for sample in samples if sample.source in division]
    given = {part: f"as {table} says" for part in SPLITS if part in division.values()}
    classes = sort_naturally({sample.class_name for sample in divided})
    return DataSet(classes, divided, [*left_out, *excluded], given, list(notes))


def assign_parts(
    places: Mapping[str, tuple[str, str]], parts: Mapping[str, str] | str, table: str
) -> dict[str, Part | None]:
    """Return the part of each image; None for all images if the data set is undivided.

    Args:
        places: the path of each image, and its cell in the column of splits.
        parts: "auto" recognizes words such as train, val and test in that column, or without it in the images' folders.
            Otherwise the column's value, or the folder, for each part; images in none of them are omitted.
        table: the table's name in messages.

    Raises:
        UserError: there are other values, no training part, or images outside such folders.
    """
    split = any(cell for _, cell in places.values())
    if not isinstance(parts, str):
        wanted: dict[str, Part] = {parts[part].strip("./"): part for part in SPLITS if part in parts}
        held = {name: cell if split else path for name, (path, cell) in places.items()}
        divided: dict[str, Part | None] = {
            name: part
            for name, value in held.items()
            for want, part in wanted.items()
            if not want or value == want or (not split and value.startswith(f"{want}/"))
        }
        if missing := set(wanted.values()) - set(divided.values()):
            raise UserError(f"split.parts.{min(missing)}: no row of {table} is of {parts[min(missing)]}.")
        return divided
    named = {name: recognize_part(cell) if split else find_part(path) for name, (path, cell) in places.items()}
    found = set(named.values())
    if not split and len(found - {None}) < 2:
        return dict.fromkeys(places)
    if None in found or "train" not in found:
        example = next((name for name, part in named.items() if part is None), next(iter(named)))
        said = f"split '{places[example][1]}'" if split else "no folder"
        raise UserError(
            f"{table}: expected each image in train, val or test, some in train; found {said} for {example}. Set "
            "split.parts: {train: VALUE, val: VALUE, test: VALUE}, or {train: .} for images that are not divided yet."
        )
    return named


class _Index:
    """The files of a data set, for lookup by a table's names."""

    def __init__(self, root: Folder) -> None:
        self.files = dict(root.walk())
        self.by_name: dict[str, list[str]] = {}
        for path in self.files:
            name = normalize_name(path.rpartition("/")[2])
            for known in {name, name.rpartition(".")[0] if is_image(name) else name}:
                self.by_name.setdefault(known, []).append(path)

    def find(self, row: TableRow) -> tuple[str, str]:
        """Return the path of a row's file, and the reason if there is none."""
        if not row.file:
            return "", "no file name"
        named = self.by_name.get(row.file.rpartition("/")[2], [])
        near = f"{row.folder}/{row.file}".strip("/")
        for want in (near, row.file):
            if exact := [path for path in named if normalize_name(path) == want or _stem(path) == want]:
                return exact[0], "" if len(exact) == 1 else _explain_ambiguity(exact)
        alike = [
            path for path in named if _ends_alike(row.file, normalize_name(path)) or _ends_alike(row.file, _stem(path))
        ]
        if row.folder:
            alike = [path for path in alike if path.startswith(f"{row.folder}/")]
        if len(alike) == 1:
            return alike[0], ""
        return "", _explain_ambiguity(alike) if alike else "file not found"


def _stem(path: str) -> str:
    return normalize_name(path.rpartition(".")[0]) if is_image(path) else normalize_name(path)


def _ends_alike(one: str, other: str) -> bool:
    """Return whether one path is the end of the other, in complete names."""
    return f"/{one}".endswith(f"/{other}") or f"/{other}".endswith(f"/{one}")


def _explain_ambiguity(paths: Sequence[str]) -> str:
    return f"ambiguous: {len(paths)} files match ({', '.join(sorted(paths)[:SHOWN])}); give the full path"


def _drop_repeats(found: Mapping[str, Sequence[TableRow]], table: str, left_out: list[Reject]) -> dict[str, TableRow]:
    """Return one row for each image. Images with several labels and repeated rows go to ``left_out``."""
    several = {path: rows for path, rows in found.items() if len({row.label for row in rows}) > 1}
    if len(several) > max(1, MOST * len(found)):
        path, rows = next(iter(several.items()))
        said = ", ".join(sorted({row.label for row in rows})[:SHOWN])
        raise UserError(
            f"{table}: {len(several):,} of {len(found):,} images have several labels, such as {path} ({said}). "
            f"{ONE_CLASS}: expected one label for each."
        )
    for path, (first, *others) in found.items():
        for row in others if path not in several else (first, *others):
            reason = f"repeats row {first.number} ({first.label})"
            if path in several:
                reason = f"conflicting labels: {first.label} in row {first.number}, another one in other rows"
            kind: Kind = "unlabeled" if path in several else "duplicate"
            left_out.append(Reject(f"{table}, row {row.number}: {row.file}", row.label, reason, kind))
    return {path: rows[0] for path, rows in found.items() if path not in several}


def _find_unlisted(root: Folder, listed: Mapping[str, object], table: str) -> Iterator[Reject]:
    """Yield the images that a table does not list; a folder without any listed image is one entry."""
    above = {path[: place + 1] for path in listed for place, letter in enumerate(path) if letter == "/"}

    def look(folder: Folder, path: str) -> Iterator[Reject]:
        for name in sorted(folder.files):
            if is_image(name) and path + name not in listed:
                yield Reject(path + name, "", f"not listed in {table}", "unlisted")
        for name in sort_naturally(folder.folders):
            below = f"{path}{name}/"
            if below in above:
                yield from look(folder.folders[name], below)
            elif count := sum(is_image(file) for file, _ in folder.folders[name].walk()):
                yield Reject(below, "", f"none of its {count:,} images is listed in {table}", "unused")

    return look(root, "")
