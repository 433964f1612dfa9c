"""Compute the next items of an iterator in threads while the caller works on one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def prefetch(items: Iterable[T], count: int) -> Iterator[T]:
    """Yield ``items`` in order, with up to ``count`` of them computed in advance.

    A single background thread iterates over ``items``, so the iterator need not be thread-safe.
    """
    iterator, end = iter(items), object()
    queue: deque[Future[T | object]] = deque()
    with ThreadPoolExecutor(1) as pool:
        for _ in range(count):
            queue.append(pool.submit(next, iterator, end))
        while (item := queue.popleft().result()) is not end:
            queue.append(pool.submit(next, iterator, end))
            yield item  # type: ignore[misc]


def map_in_threads(function: Callable[[S], T], items: Iterable[S], threads: int | None, waiting: int) -> Iterator[T]:
    """Yield ``function(item)`` for all ``items`` in order, computed in several threads.

    The caller's thread iterates over ``items``, so the iterator need not be thread-safe.

    Args:
        function: called with one item, from several threads at a time.
        items: the items.
        threads: the number of threads; 1 computes in the caller's thread, None lets Python choose.
        waiting: the number of results that may be pending or in progress.
    """
    if threads == 1:
        yield from map(function, items)
        return
    queue: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            queue.append(pool.submit(function, item))
            if len(queue) == waiting:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
