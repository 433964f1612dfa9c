"""Find images whose labels the data doubt: probably wrong labels, near duplicates that disagree, and outliers.

    python -m stages labels                 a table, and data/labels/labels.html with the pictures
    python -m stages labels --top 100       up to 100 labels and 100 outliers; by default 30
    python -m stages labels --write         also add them, without labels, to the table of split.corrections
    python -m stages labels --test          the test images, too

Reads data/split and data/extract. Out-of-fold logistic regression on the frozen features and confident learning (the
package cleanlab) find labels that are probably wrong; images of a group or near duplicates are in one fold. Nothing is
corrected: docs/labels.md says how to do that. What the table of corrections has decided is not shown again.
"""

import argparse
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

from stages.base.arguments import count
from stages.base.arrays import ArrayFile, ArrayLike
from stages.base.dvc_lock import read_lock
from stages.base.errors import UserError
from stages.base.folders import replace_folder
from stages.base.memory import read_available_memory
from stages.base.params import read_values
from stages.base.splits import SPLITS
from stages.base.stage import stage
from stages.base.terminal import format_size, read_width, say, show_progress
from stages.draw.labels import DOUBTED, OUTLIER, PROBABLE, Shown, format_doubts, render_page
from stages.images.pick import pick_thumbnails
from stages.images.split_file import SplitFile
from stages.measure.label_issues import Doubt, count_steps, find_doubts, find_outliers, measure_distances
from stages.pipeline.recorded import find_stale
from stages.schema.split import Split
from stages.sources.data_set import join_names, normalize_name
from stages.splitting.correction_table import Corrections, add_undecided, read_corrections
from stages.splitting.groups import join_groups
from stages.splitting.lock_table import DIGITS
from stages.splitting.near_duplicates import find_near_duplicates, hash_pictures
from stages.training.logistic import FOLDS, predict_held_out
from stages.transfer.data import read_image_features

PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")
TABLES = Path("data/tables")
SPLIT = Path("data/split")
PRETRAIN = Path("data/pretrain")
EXTRACT = Path("data/extract")
EXTRACT_TEST = Path("data/extract_test")
LABELS = Path("data/labels")
TABLE = TABLES / "corrections.csv"  # that --write makes where split.corrections is none

TOP = 30
SEED = 0  # of the folds
SIDE = 320  # of the pictures, at most, in pixels
READ = 1024  # rows at a time
NAMED = 5  # classes in a message
FIT = 0.8  # of the rows are in each fit, of which FOLDS may run at a time


@stage("labels")
def main() -> None:
    """Run the command."""
    options = build_parser().parse_args()
    (chosen,) = read_values(PARAMS, "split", Split, "corrections")
    corrections = read_corrections(chosen, TABLES)
    refuse_stale(LOCK, ["extract", *(["extract_test"] if options.test else [])])
    images = open_images(SPLITS if options.test else SPLITS[:2])
    for line in images.describe():
        say(line)
    features = read_features(images)
    pairs = find_near_duplicates(list(show_progress(hash_pictures(images.read()), "near duplicates", len(images))))
    decided = np.array(
        [corrections.find(*each) is not None for each in zip(images.sources, images.pixels, strict=True)]
    )
    probabilities = predict(features, images, join_groups(images.groups, pairs))
    doubts = find_doubts(images.labels, probabilities, pairs, decided)
    steps = show_progress(measure_distances(features), "outliers", count_steps(len(images)), "step")
    outliers = find_outliers(np.concatenate(list(steps)), decided)

    notes = list(describe(images, probabilities, doubts, outliers, decided))
    shown = [images.show(doubt, probabilities) for doubt in (*doubts[: options.top], *outliers[: options.top])]
    pictures = images.pick({sha256 for one in shown for sha256 in (one.sha256, one.twin)})
    table = corrections.path or TABLE
    with replace_folder(LABELS) as folder:
        page = render_page(shown, [*notes, *images.describe()], pictures, str(table))
        (folder / "labels.html").write_text(page, encoding="utf-8")
    if shown:
        print("\n".join(["", *format_doubts(shown, read_width()), ""]))
    for line in notes:
        say(line)
    if options.write:
        write(table, corrections, shown)
    say(f"open {LABELS / 'labels.html'} in a browser")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages labels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--top", type=count, default=TOP, metavar="N", help=f"images of each kind (default {TOP})")
    parser.add_argument("--write", action="store_true", help="add a row for each image shown, for you to decide")
    parser.add_argument("--test", action="store_true", help="also the test images")
    return parser


def refuse_stale(lock: Path, names: Collection[str]) -> None:
    """Raise UserError if stages ran before those whose outputs they read.

    Args:
        lock: dvc.lock.
        names: of the stages.
    """
    for name in names:
        for line in find_stale(read_lock(lock), name):
            raise UserError(f"{line}. Run `dvc repro {name}` first.")


@dataclass(frozen=True)
class Images:
    """The images of some splits, one after the other.

    Attributes:
        splits: those with images, by name.
    """

    splits: dict[str, SplitFile]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> list[str]:
        """The names of the classes."""
        return next(iter(self.splits.values())).classes

    @cached_property
    def labels(self) -> np.ndarray:
        """The label of each image, int64 (images,)."""
        return np.concatenate([split.labels() for split in self.splits.values()])

    @cached_property
    def sources(self) -> list[str]:
        """The path of each image in the data set."""
        return [source for split in self.splits.values() for source in split.sources()]

    @cached_property
    def pixels(self) -> list[str]:
        """The hash of each image's pixels."""
        return [pixels for split in self.splits.values() for pixels in split.pixels()]

    @cached_property
    def groups(self) -> list[str]:
        """The name of each image's group, which is in one split."""
        return [f"{name} {group}" for name, split in self.splits.items() for group in split.groups()]

    @cached_property
    def hashes(self) -> list[str]:
        """The SHA-256 of each image's file."""
        return [sha256 for split in self.splits.values() for sha256 in split.hashes()]

    def read(self) -> Iterator[bytes]:
        """Yield the bytes of each image's file."""
        return chain.from_iterable(split.images() for split in self.splits.values())

    def pick(self, hashes: set[str]) -> dict[str, bytes]:
        """Return pictures of images, by the SHA-256 of their files."""
        found: dict[str, bytes] = {}
        for split in self.splits.values():
            found |= pick_thumbnails(split.path, hashes, SIDE)
        return found

    def describe(self) -> Iterator[str]:
        """Yield lines on which images are compared."""
        test = "test" in self.splits
        counts = ", ".join(f"{name} {len(split)}" for name, split in self.splits.items())
        yield f"images: {counts}{'' if test else '; test images are not looked at (--test)'}"
        if test:
            yield (
                "test images included: whoever corrects test labels after seeing a model must check all test images "
                "alike, not only those that the model gets wrong, or its accuracy will be too high"
            )

    def show(self, doubt: Doubt, probabilities: np.ndarray) -> Shown:
        """Return an image in doubt, in words.

        Args:
            doubt: the image.
            probabilities: of each class, float64 (images, classes).
        """
        place, label = doubt.image, self.classes[self.labels[doubt.image]]
        if doubt.suggested is None:
            kind, suggested, score = OUTLIER, "", f"{doubt.score:.1f} x"
            reason = "far from all others"
        else:
            kind, suggested = PROBABLE if doubt.probable else DOUBTED, self.classes[doubt.suggested]
            score = _percent(doubt.score)
            reason = f"predicted {suggested} ({_percent(probabilities[place, doubt.suggested])})"
            if doubt.twin is not None:
                other = self.classes[self.labels[doubt.twin]]
                reason = f"near duplicate of {self.sources[doubt.twin]} ({other})"
        return Shown(
            kind,
            self.sources[place],
            label,
            suggested,
            score,
            reason,
            self.pixels[place][:DIGITS],
            self.hashes[place],
            "" if doubt.twin is None else self.hashes[doubt.twin],
        )


def open_images(names: Sequence[str]) -> Images:
    """Return the images of splits; one without any is left out."""
    files = {name: SplitFile(SPLIT / f"{name}.parquet") for name in names}
    return Images({name: file for name, file in files.items() if len(file)})


def read_features(images: Images) -> np.ndarray:
    """Return the features of each image at the end of the frozen part, float32 (images, features)."""
    parts: dict[str, ArrayLike] = {
        name: ArrayFile(EXTRACT_TEST / "features.npy")
        if name == "test"
        else read_image_features(EXTRACT, PRETRAIN, name, split.labels())
        for name, split in images.splits.items()
    }
    spans = [(name, start) for name, part in parts.items() for start in range(0, len(part), READ)]
    found = [
        parts[name][np.arange(start, min(start + READ, len(parts[name])))]
        for name, start in show_progress(spans, "features", unit="step")
    ]
    features = np.concatenate(found)
    if len(features) != len(images):
        raise UserError(
            f"{EXTRACT_TEST} holds the features of other images than {SPLIT}. Run `dvc repro extract_test`."
        )
    return features


def predict(features: np.ndarray, images: Images, groups: Sequence[str]) -> np.ndarray:
    """Return class probabilities by a classifier fitted without the image, float64 (images, classes).

    Args:
        features: of each image, float32 (images, features).
        images: with their labels.
        groups: the name of each image's group, which is in one fold.

    Returns:
        The probabilities; rows of NaN for images of a class that is a single group.

    Raises:
        UserError: there is too little memory.
    """
    needed, available = int(8 * features.size * (1 + FIT * FOLDS)), read_available_memory()
    line = f"logistic regression on {len(features):,} images x {features.shape[1]:,} features, {FOLDS} folds"
    if available is not None and needed > available:
        raise UserError(
            f"{line}, takes about {format_size(needed)} of memory; {format_size(available)} are available. Free some "
            f"memory, or compare fewer images: set a smaller split.train."
        )
    say(line)
    numbers = np.unique(np.array(groups), return_inverse=True)[1]
    found = np.full((len(features), len(images.classes)), np.nan)
    folds = predict_held_out(features.astype(np.float64), images.labels, numbers, seed=SEED)
    for places, probabilities in show_progress(folds, "fitting", FOLDS, "fold"):
        found[places] = probabilities
    return found


def describe(
    images: Images, probabilities: np.ndarray, doubts: Sequence[Doubt], outliers: Sequence[Doubt], decided: np.ndarray
) -> Iterator[str]:
    """Yield lines on what was found.

    Args:
        images: that were compared.
        probabilities: see ``find_doubts``.
        doubts: all of them.
        outliers: all of them.
        decided: see ``find_doubts``.
    """
    twins = sum(doubt.twin is not None for doubt in doubts)
    yield (
        f"{sum(doubt.probable for doubt in doubts)} of {len(images)} labels are probably wrong ({twins} because of a "
        f"near duplicate); {sum(not doubt.probable for doubt in doubts)} others are predicted otherwise; "
        f"{len(outliers)} outliers"
    )
    if decided.any():
        yield f"{int(decided.sum())} images are not shown, because the table of corrections has decided on them"
    lacking = images.labels[np.isnan(probabilities[:, 0])]
    if len(lacking):
        names = join_names([images.classes[label] for label in np.unique(lacking)], NAMED)
        yield f"{len(lacking)} images are the only group of their class, so no prediction can doubt them: {names}"


def write(table: Path, corrections: Corrections, shown: Sequence[Shown]) -> None:
    """Add rows without labels for the images shown, except those that wait in the table for a decision already.

    Args:
        table: to add to.
        corrections: its content.
        shown: the images.
    """
    waiting = {text for row in corrections.undecided for text in (row.image, row.pixels)}
    rows = {one.source: (one.source, one.pixels, one.note) for one in shown}
    added = [row for row in rows.values() if normalize_name(row[0]) not in waiting and row[1] not in waiting]
    add_undecided(table, added)
    say(f"added {len(added)} rows without a label to {table}: fill in the label of each, or delete the row")
    if corrections.path is None:
        say(f"set split.corrections: {table} in {PARAMS}, so that split reads it")


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.1f} %"


if __name__ == "__main__":
    main()
