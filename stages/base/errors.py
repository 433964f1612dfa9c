"""Errors that end a stage or command with one line."""

import difflib
import re
from collections.abc import Iterable

_NO_MEMORY = re.compile("RESOURCE_EXHAUSTED|OOM when allocating|Failed to allocate memory")  # of the frameworks


class UserError(Exception):
    """An error that the user can fix. Its message says what was expected, what was received and what to do."""


def summarize(error: object) -> str:
    """Return the message of an error on one line, shortened, without its final period; its type if it has none."""
    return shorten(" ".join(str(error).split()).rstrip(".") or type(error).__name__)


def shorten(text: str, longest: int = 300) -> str:
    """Return a text for a message, cut if it is long.

    >>> shorten("Once upon a time", 9)
    'Once upon … (16 characters)'

    Args:
        text: the text.
        longest: characters to keep.
    """
    return text if len(text) <= longest else f"{text[:longest]} … ({len(text):,} characters)"


def suggest(received: str, known: Iterable[str]) -> str:
    """Return " Did you mean NAME?" with the closest known name, or "" if none is close.

    >>> suggest("finetun", ["split", "finetune"])
    ' Did you mean finetune?'
    """
    close = difflib.get_close_matches(received, known, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def lacks_memory(error: Exception) -> bool:
    """Return whether an error means that the machine or the GPU ran out of memory."""
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(str(error)))
