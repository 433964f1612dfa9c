"""Compute on a cluster if one is asked for: with RAY_ADDRESS in the environment, or with --ray.

It is no param, because it changes no bytes: the results are those of one machine.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar

from stages.base.errors import UserError

S = TypeVar("S")
T = TypeVar("T")
OPTION, ADDRESS = "--ray", "RAY_ADDRESS"


class Cluster(Protocol):
    """Machines that compute together.

    Attributes:
        processor: the kind that all of them have.
    """

    processor: str

    def map(self, job: Callable[[S], T], items: Iterable[tuple[int, S]]) -> Iterator[tuple[int, T]]:
        """Yield (number, job(item)) for each (number, item), in the order in which they are done.

        Args:
            job: can be pickled; each worker keeps its copy, and what that computed once.
            items: read as workers become free, so that few are in memory at a time.
        """


@contextmanager
def open_cluster(stage: str) -> Iterator[Cluster | None]:
    """Connect to the cluster that is asked for; None: this machine computes.

    Args:
        stage: whose libraries the workers need.

    Raises:
        UserError: Ray is not installed, or there is no cluster at this address.
    """
    address: Any = os.environ.get(ADDRESS)
    if not address and OPTION not in sys.argv[1:]:
        yield None
        return
    if find_spec("ray") is None:
        asked = f"{ADDRESS} is set" if address else f"received {OPTION}"
        raise UserError(f"{asked}, and Ray is not installed: pip install -e '.[ray]'")
    from stages.cluster.ray_cluster import connect  # here: few runs need Ray

    with connect(stage, address) as cluster:
        yield cluster
