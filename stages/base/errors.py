"""Errors that end a stage or command with one line."""

import re

_NO_MEMORY = re.compile("RESOURCE_EXHAUSTED|OOM when allocating|Failed to allocate memory")  # of the frameworks


class UserError(Exception):
    """A mistake the user can mend. Its message says what was expected, what was found, and what to do."""


def lacks_memory(error: Exception) -> bool:
    """Whether memory ran out, of the machine or of a GPU."""
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(str(error)))
