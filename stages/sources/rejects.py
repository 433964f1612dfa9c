"""List what a data set contains that is not used, with the reasons, and stop if it is too much."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stages.base.errors import UserError
from stages.base.files import write_csv
from stages.base.terminal import say
from stages.images.decode import HEIC_EXTRA
from stages.sources.data_set import Kind, Reject

SHOWN = 10  # entries in a message
# In the order of the message.
KINDS: dict[Kind, str] = {
    "unreadable": "unreadable",
    "stray": "in no class folder",
    "unlabeled": "unusable table rows",
    "unlisted": "not in the table",
    "no image": "not images",
    "duplicate": "duplicates",
    "grouped": "in groups of the test split",
    "locked": "locked to another split",
    "dropped": "dropped by corrections",
}


def refuse_many(left_out: Sequence[Reject], images: int, limit: float) -> None:
    """Stop if more than the allowed share of the images cannot be used.

    Unreadable images, images outside class folders, and rows of a table without image or label count. Other files do
    not, nor do images that a table does not list.

    Args:
        left_out: everything that is not used.
        images: the number of usable images.
        limit: the allowed share.

    Raises:
        UserError: there are more; the message lists the first.
    """
    rejects = [entry for entry in left_out if entry.kind in ("unreadable", "stray", "unlabeled")]
    total = len(rejects) + images
    if len(rejects) <= limit * total:
        return
    lines = [f"  {reject.source}: {reject.reason}" for reject in rejects[:SHOWN]]
    more = [f"  ... and {len(rejects) - SHOWN} more"] if len(rejects) > SHOWN else []
    share = f"{len(rejects)} of {total} images ({len(rejects) / total:.1%})"
    advice = "Replace or remove these files, or raise split.max_rejects."
    raise UserError(
        "\n".join([f"{share} cannot be used; split.max_rejects allows {limit:.1%}.", *lines, *more, advice])
    )


@contextmanager
def list_on_failure(path: Path, left_out: Sequence[Reject]) -> Iterator[None]:
    """Write the list of what is left out to ``path`` if the block fails; otherwise remove an earlier list.

    Args:
        path: the file to write.
        left_out: the list; the block may extend it.
    """
    try:
        yield
    except UserError as error:
        if not left_out:
            raise
        path.parent.mkdir(parents=True, exist_ok=True)
        write_left_out(path, left_out)
        raise UserError(f"{error} {path} lists all that was left out, and why.") from None
    path.unlink(missing_ok=True)


def write_left_out(path: Path, left_out: Sequence[Reject]) -> None:
    """Write the list of what was left out."""
    rows = [(entry.source, entry.class_name, entry.reason) for entry in left_out]
    write_csv(path, [("source", "class", "reason"), *rows])


def say_left_out(left_out: Sequence[Reject], always: Sequence[Kind] = (), note: str = "") -> None:
    """Print which folders and archives are left out, and the number of files of each kind.

    Args:
        left_out: everything that is not used.
        always: kinds to mention even at 0, if there are others.
        note: a text to append.
    """
    for entry in left_out:
        if entry.kind == "unused":
            say(f"left out: {entry.source} ({entry.reason})")
    counts: Counter[Kind] = Counter(entry.kind for entry in left_out if entry.kind != "unused")
    if counts:
        said = [f"{counts[kind]} {word}" for kind, word in KINDS.items() if counts[kind] or kind in always]
        say(f"left out: {', '.join(said)}{note}")
    if heic := sum(HEIC_EXTRA in entry.reason for entry in left_out):
        # DVC does not know what is installed, and would skip the stage.
        say(f"{heic} of them HEIC photographs: `{HEIC_EXTRA}`, then `dvc repro -f split && dvc repro`")
