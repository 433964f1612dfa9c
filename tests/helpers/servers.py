"""Servers that tests start, each in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.conftest import PROJECT


@contextmanager
def serve(name: str, *arguments: str) -> Iterator[dict[str, Any]]:
    """Run a server of tests/helpers within the block; give what it says of itself.

    Args:
        name: of its module.
        arguments: of its command line.
    """
    own = {
        name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"
    }  # they are not of this project
    command = (sys.executable, "-m", f"tests.helpers.{name}", *arguments)
    with subprocess.Popen(
        command,
        cwd=PROJECT,
        env=own,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
