"""Find images in the files and folders of a command line."""

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stages.base.table import make_printable
from stages.images.contract import Contract
from stages.images.decode import BadImage
from stages.images.load import load
from stages.sources.tree import is_hidden, is_image

_NAMED = 5  # skipped files in a message


@dataclass
class SkippedFiles:
    """The files and folders that ``find_images`` skips.

    Attributes:
        recursive: whether to search subfolders.
        unread: a line for each image that cannot be read.
        others: files in folders that are not images.
        below: subfolders that were not searched.
    """

    recursive: bool
    unread: list[str] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    below: list[Path] = field(default_factory=list)

    def notes(self) -> Iterator[str]:
        """Yield lines that say what was skipped."""
        for paths, why in ((self.others, "not images"), (self.below, "folders below (add --recursive)")):
            if paths:
                names = ", ".join(make_printable(str(path)) for path in paths[:_NAMED])
                yield f"left out {len(paths)} ({why}): {names}{', …' if len(paths) > _NAMED else ''}"


def find_images(
    arguments: Sequence[Path], contract: Contract, found: SkippedFiles
) -> Iterator[tuple[Path, np.ndarray]]:
    """Yield the path and the pixels of each image.

    Args:
        arguments: files and folders; "-" is standard input.
        contract: how images become pixels.
        found: is filled with everything else.
    """
    queue = deque((path, True) for path in arguments)
    searched: set[Path] = set()  # links may form a cycle
    while queue:
        path, named = queue.popleft()
        try:
            if str(path) == "-":
                yield path, load(sys.stdin.buffer.read(), contract)
            elif path.is_dir():
                inside = sorted(each for each in path.iterdir() if not is_hidden(each.name))
                if not named and not found.recursive:
                    found.below.append(path)
                elif path.resolve() not in searched:
                    searched.add(path.resolve())
                    queue.extendleft((each, False) for each in reversed(inside))
            elif path.exists() and not path.is_file():
                raise BadImage("no regular file")  # reading a pipe would block
            else:
                yield path, load(path.read_bytes(), contract)
        except BadImage as error:
            if named or is_image(path.name):
                found.unread.append(f"{make_printable(str(path))}: {error}")
            else:
                found.others.append(path)
        except OSError as error:
            found.unread.append(f"{make_printable(str(path))}: {(error.strerror or str(error)).lower()}")
