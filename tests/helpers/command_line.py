"""The command line of a benchmark. This module imports nothing that could change what is measured."""

from argparse import ArgumentParser, RawTextHelpFormatter
from pathlib import Path


def command_line(file: str, description: str | None, *paths: str) -> ArgumentParser:
    """Return the parser of a benchmark, from its ``__file__``, its docstring and its positional arguments ``paths``."""
    name = f"python -m tests.benchmarks.{Path(file).stem}"
    parser = ArgumentParser(prog=name, description=description, formatter_class=RawTextHelpFormatter)
    for path in paths:
        parser.add_argument(path, type=Path)
    return parser
