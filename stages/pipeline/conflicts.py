"""Find conflict markers that a merge left in files that DVC reads. DVC ends with an error about YAML on them."""

from collections.abc import Sequence
from pathlib import Path

_MARKERS = (b"<<<<<<< ", b">>>>>>> ")
_RESOLVE = "Keep the lines that you want, delete the markers, and run `git add {}`."
_CHOOSE = (
    "Take one side's file with `git checkout --ours {0}` (after the merge: `git checkout HEAD^ {0}`), then run "
    "`dvc repro --pull`."
)


def find_conflicts(edited: Sequence[Path], written: Sequence[Path]) -> list[str]:
    """Return a sentence for each file that contains conflict markers: where, and what to do.

    Args:
        edited: files that people edit, such as params.yaml.
        written: files that DVC writes, such as dvc.lock; they may be missing.
    """
    found = []
    for path in (*edited, *written):
        if line := _find_marker(path):
            remedy = _RESOLVE.format(path) if path in edited else _CHOOSE.format(path)
            found.append(f"{path}, line {line}: a merge left conflict markers. {remedy}")
    return found


def _find_marker(path: Path) -> int:
    """Return the number of the first line with a marker; 0 if there is none."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return 0
    return next((number for number, line in enumerate(lines, 1) if line.startswith(_MARKERS)), 0)
