"""Sets that keep the order in which they were filled, for a package whose results depend on the order of its sets."""

import sys
from collections.abc import Iterable, Iterator, MutableSet
from contextlib import contextmanager
from typing import Any


class OrderedSet(MutableSet[Any]):
    """Does what ``set`` does; iterating follows insertion. An ordinary set's order changes from process to process."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items = dict.fromkeys(items)

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, value: Any) -> None:
        """Add an item; one that is there keeps its place."""
        self._items[value] = None

    def discard(self, value: Any) -> None:
        """Take an item out, if it is there."""
        self._items.pop(value, None)

    def update(self, *others: Iterable[Any]) -> None:
        """Add the items of the others."""
        for other in others:
            self._items.update(dict.fromkeys(other))

    def union(self, other: Iterable[Any]) -> "OrderedSet":
        """Return the items of both."""
        return OrderedSet([*self, *other])

    def intersection(self, other: Iterable[Any]) -> "OrderedSet":
        """Return the items that the other holds, too."""
        return OrderedSet(item for item in other if item in self)

    def issubset(self, other: Iterable[Any]) -> bool:
        """Tell whether the other holds all items."""
        return self <= OrderedSet(other)


@contextmanager
def ordered_sets(package: str) -> Iterator[None]:
    """Let every loaded module of a package mean OrderedSet where it says ``set``, while the block runs."""
    inside = [module for name, module in list(sys.modules.items()) if name.split(".")[0] == package]
    modules = [module for module in inside if "set" not in vars(module)]
    for module in modules:
        vars(module)["set"] = OrderedSet
    try:
        yield
    finally:
        for module in modules:
            del vars(module)["set"]
