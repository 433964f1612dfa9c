"""Errors that end a stage or command with one line."""

import re

_NO_MEMORY = re.compile("RESOURCE_EXHAUSTED|OOM when allocating|Failed to allocate memory")  # of the frameworks


class UserError(Exception):
    """An error that the user can fix. Its message says what was expected, what was received and what to do."""


def lacks_memory(error: Exception) -> bool:
    """Return whether an error means that the machine or the GPU ran out of memory."""
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(str(error)))
