"""A Ray cluster: the only module that names Ray.

Ray retries what was lost with a worker or a node, keeps few chunks in memory, and brings the project's code to the
workers: they need its packages alone.
"""

import logging
import os
import pickle
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray is imported

import ray

from stages.base.errors import UserError, summarize
from stages.base.processor import describe_processor, limit_cores
from stages.base.terminal import say
from stages.cluster.environment import Environment, explain_missing

S = TypeVar("S")
T = TypeVar("T")
STAGES = Path(__file__).resolve().parents[1]
RETRIES = 10  # of a chunk whose worker or node was lost
SECONDS = 10.0  # to reach the cluster
WAITING = 2  # chunks per core that are sent or computed at a time
_NO_IMPORT = "failed to import on the worker"  # in Ray's words
_jobs: dict[str, Any] = {}  # of this worker


@contextmanager
def connect(stage: str, address: str | None) -> Iterator["RayCluster"]:
    """Connect to a cluster for the block, or start one on this machine that ends with it.

    Args:
        stage: whose libraries the workers need.
        address: "auto" for the cluster that this machine belongs to, or HOST:PORT; None: that cluster, or a new one.

    Raises:
        UserError: there is no cluster at this address, or its machines differ from this one.
    """
    try:
        started = _start(address)
        cores = int(ray.cluster_resources().get("CPU", 0))
        if not cores:
            raise UserError("the Ray cluster has no CPUs. Add a node: ray start --address=HOST:PORT")
        found = f"connected to {ray.get_runtime_context().gcs_address}"
        where = "no cluster runs here, so one is started, which ends with this stage" if started else found
        nodes = sum(node["Alive"] for node in ray.nodes())
        say(f"Ray: {where}; {nodes} node{'s' * (nodes > 1)}, {cores} core{'s' * (cores > 1)}")
        yield RayCluster(stage)
    finally:
        ray.shutdown()


def _start(address: str | None) -> bool:
    """Connect to the cluster at an address; return whether one was started for this process."""
    options = {
        "logging_level": logging.CRITICAL,
        "log_to_driver": False,
        "include_dashboard": False,
        # Workers compute on CPUs, whatever else their node has.
        "runtime_env": {
            "py_modules": [str(STAGES)],
            "excludes": ["__pycache__"],
            "env_vars": {"CUDA_VISIBLE_DEVICES": ""},
        },
    }
    if address and address not in ("auto", "local"):
        _refuse_unreachable(address)
    try:
        with suppress(ConnectionError):
            ray.init(address=address or "auto", **options)
            return address == "local"
        if not address:
            ray.init(address="local", **options)
            return True
    except Exception as error:  # Ray has no class of its own for what may be wrong, such as another version there
        raise UserError(f"Ray at {address or 'this machine'}: {summarize(error)}") from None
    raise UserError(
        f"RAY_ADDRESS is {address}, and no Ray cluster runs on this machine. Start one (ray start --head), or unset "
        "it, so that this machine computes alone."
    )


def _refuse_unreachable(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or "://" in address or not port.isdecimal():
        raise UserError(f"RAY_ADDRESS: expected auto, local or HOST:PORT of the head node; received {address}")
    try:
        socket.create_connection((host, int(port)), SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"RAY_ADDRESS: nothing answers at {address} ({summarize(error)}). Expected HOST:PORT as `ray start --head` "
            "prints it. Unset it, so that this machine computes alone."
        ) from None


class RayCluster:
    """See ``stages.cluster.cluster.Cluster``.

    Args:
        stage: whose libraries the workers need.
    """

    def __init__(self, stage: str) -> None:
        self._waits = False
        on_a_worker = ray.remote(num_cpus=1, max_retries=RETRIES)
        expected = Environment.here(stage)
        self.processor: str = _get(on_a_worker(_probe).remote(expected))
        self._expected, self._compute = expected.on(self.processor), on_a_worker(_compute)

    def map(self, job: Callable[[S], T], items: Iterable[tuple[int, S]]) -> Iterator[tuple[int, T]]:
        """Yield (number, job(item)) for each (number, item), in the order in which they are done."""
        packed, todo = ray.put(pickle.dumps(job)), iter(items)
        # Of each chunk its number, and its item, which Ray needs to compute it again.
        running: dict[ray.ObjectRef, tuple[int, ray.ObjectRef]] = {}
        while True:
            free = WAITING * max(1, self._count_cores()) - len(running)
            for number, item in islice(todo, max(free, 0)):
                given = ray.put(pickle.dumps(item))
                running[self._compute.remote(self._expected, packed.hex(), [packed], given)] = number, given
            if not running:
                return
            for done in ray.wait(list(running), timeout=SECONDS)[0]:
                result = _get(done)
                number, _ = running.pop(done)
                yield number, result

    def _count_cores(self) -> int:
        """Return how many cores the cluster has now; if none is left, say once that work waits for a node."""
        cores = int(ray.cluster_resources().get("CPU", 0))
        if not cores and not self._waits:
            say("Ray: no node with a core is left; waiting for one to join")
        self._waits = not cores
        return cores


def _get(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if _NO_IMPORT in str(error.cause):  # of this module: the packages that it needs are missing
            node = re.search(r"ip=([^)\s]+)", str(error))
            reason = str(error.cause).strip().splitlines()[-1]
            raise UserError(
                f"node {node[1] if node else 'unknown'}: {reason}. Install the project's packages there: "
                "pip install -e '.[ray]'"
            ) from None
        raise error.cause from None  # as it would end on this machine
    except ray.exceptions.RayError as error:
        raise UserError(f"Ray failed: {summarize(error)}. Earlier results are unchanged; run it again.") from None


def _probe(expected: Environment) -> str:
    """Return the kind of processor of the node that computes this."""
    if difference := expected.find_difference():
        raise UserError(difference)
    return describe_processor()


def _compute(expected: Environment, name: str, job: list[Any], item: bytes) -> Any:
    """Return job(item).

    Args:
        expected: of this node.
        name: of the job.
        job: reference to it, in a list so that it is sent once to each worker.
        item: pickled.
    """
    if name not in _jobs:
        if difference := expected.find_difference():
            raise UserError(difference)
        limit_cores(1)  # Ray starts a worker for each core
        try:
            _jobs[name] = pickle.loads(ray.get(job[0]))
        except ImportError as error:
            raise UserError(explain_missing(error)) from None
    try:
        return _jobs[name](pickle.loads(item))
    except ImportError as error:
        raise UserError(explain_missing(error)) from None
