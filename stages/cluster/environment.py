"""What a worker needs to compute the same bytes as every other: versions, and one kind of processor."""

import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace

from stages.base.processor import describe_processor
from stages.base.versions import find_version, list_installed, list_libraries


@dataclass(frozen=True)
class Environment:
    """What the workers of a run have in common.

    Attributes:
        python: version, without the patch level.
        libraries: version of each, by name.
        processor: the kind; empty: any.
    """

    python: str
    libraries: Mapping[str, str]
    processor: str = ""

    @staticmethod
    def here(stage: str) -> "Environment":
        """Return what this machine has of what a stage needs, on any kind of processor."""
        return Environment(_python(), list_installed(list_libraries(stage)))

    def on(self, processor: str) -> "Environment":
        """Return the same on one kind of processor."""
        return replace(self, processor=processor)

    def find_difference(self) -> str | None:
        """Return a sentence about what the machine that calls this has otherwise; None if it fits."""
        if (found := _python()) != self.python:
            return _tell(f"Python {self.python}", f"Python {found}", f"Start Ray there with Python {self.python}")
        for name, expected in self.libraries.items():
            if (installed := find_version(name)) != expected:
                received = f"{name} {installed}" if installed else f"no {name}"
                return _tell(f"{name} {expected}", received, f"Install it there: pip install {name}=={expected}")
        if self.processor and (kind := describe_processor()) != self.processor:
            ours, others = set(kind.split()), set(self.processor.split())
            lacks, has = (" ".join(sorted(sets)) or "nothing" for sets in (others - ours, ours - others))
            return (
                f"node {_name()} has another kind of processor than the first that answered (it lacks {lacks}, and has "
                f"{has} besides), which changes the last digits of results. Take nodes of one kind"
            )
        return None


def explain_missing(error: ImportError) -> str:
    """Return a sentence about a package that the machine that calls this lacks."""
    return f"node {_name()}: {error}. Install it there as on the machine that runs the stage: pip install -e '.[ray]'"


def _tell(expected: str, received: str, remedy: str) -> str:
    return f"node {_name()}: expected {expected}, as on the machine that runs the stage, received {received}. {remedy}"


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def _name() -> str:
    return socket.gethostname()
