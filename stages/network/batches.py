"""Batches of data, each made ready while the step before it runs."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from stages.network.data import Data

AHEAD = 2  # batches that are ready or in the making


def count(data: Data, batch_size: int) -> int:
    """Return how many batches an epoch has."""
    return -(-len(data) // batch_size)


def batches(data: Data, batch_size: int, epoch: int, seed: int | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Go through ``data`` once: inputs and targets, as ``Data.batch`` returns them.

    Args:
        epoch: counted from 0.
        seed: of the order, which is another one in each epoch; None: the order of the rows.
    """
    order = np.arange(len(data))
    if seed is not None:
        np.random.default_rng([seed, epoch]).shuffle(order)
    starts = iter(range(0, len(order), batch_size))
    queue: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
    with ThreadPoolExecutor(1) as pool:  # one, so that data need not be safe to read from several threads
        while True:
            while len(queue) < AHEAD and (start := next(starts, None)) is not None:
                rows = np.sort(order[start : start + batch_size])  # files like order
                queue.append(pool.submit(data.batch, rows, epoch))
            if not queue:
                return
            yield queue.popleft().result()
