"""Make the next items of an iterator while the caller works on one, and several at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def prefetch(items: Iterable[T], count: int) -> Iterator[T]:
    """Go through ``items`` in their order, up to ``count`` of them being made ready in a thread of their own.

    Always the same thread goes through ``items``, so that they need not be safe to use from several.
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
    """Go through ``function(item)`` of all ``items`` in their order, computed in several threads.

    The caller's thread goes through ``items``, so that they need not be safe to use from several.

    Args:
        threads: how many; with 1 the caller's own computes. None: as Python chooses.
        waiting: how many results may wait for the caller, or be computed, at a time.
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
