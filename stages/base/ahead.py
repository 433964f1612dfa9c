"""Make the next items of an iterator while the caller works on one."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], count: int) -> Iterator[T]:
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
