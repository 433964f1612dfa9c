"""Items are made ahead of their use, in order, and errors arrive where the item would have."""

import threading

import pytest

from stages.base.ahead import ahead


def test_the_next_items_are_made_while_one_is_used() -> None:
    made = []
    third = threading.Event()

    def items():
        for number in range(5):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    going = ahead(items(), 2)
    assert next(going) == 0
    assert third.wait(10)  # 1 and 2 are made although only 0 was taken
    assert list(going) == [1, 2, 3, 4]
    assert made == [0, 1, 2, 3, 4]


def test_an_error_comes_after_the_items_before_it() -> None:
    def items():
        yield 1
        raise ValueError("broken")

    going = ahead(items(), 3)
    assert next(going) == 1
    with pytest.raises(ValueError, match="broken"):
        next(going)


def test_nothing_is_nothing() -> None:
    assert list(ahead([], 2)) == []
