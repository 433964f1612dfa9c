"""Types of command-line arguments, for ``argparse``."""

import argparse


def count(text: str) -> int:
    """Return a whole number of 1 or more.

    >>> count("30")
    30

    Raises:
        ArgumentTypeError: it is another text.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more; received {text}")
    return int(text)
