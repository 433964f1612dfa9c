"""Items are made ahead of their use, in order, and errors arrive where the item would have."""

import threading

import pytest

from stages.base.prefetch import map_in_threads, prefetch


def test_the_next_items_are_made_while_one_is_used() -> None:
    made = []
    third = threading.Event()

    def items():
        for number in range(5):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    going = prefetch(items(), 2)
    assert next(going) == 0
    assert third.wait(10)  # 1 and 2 are made although only 0 was taken
    assert list(going) == [1, 2, 3, 4]
    assert made == [0, 1, 2, 3, 4]


def test_an_error_comes_after_the_items_before_it() -> None:
    def items():
        yield 1
        raise ValueError("broken")

    going = prefetch(items(), 3)
    assert next(going) == 1
    with pytest.raises(ValueError, match="broken"):
        next(going)


def test_nothing_is_nothing() -> None:
    assert list(prefetch([], 2)) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    assert list(map_in_threads(lambda number: number**2, range(50), threads, 4)) == [number**2 for number in range(50)]
    assert list(map_in_threads(str, [], threads, 4)) == []


def test_several_items_are_worked_on_at_a_time() -> None:
    both = threading.Barrier(2, timeout=10)  # each waits for the other
    assert list(map_in_threads(lambda _: both.wait() >= 0, range(4), 2, 2)) == [True] * 4


def test_an_error_comes_in_the_place_of_its_result() -> None:
    results = map_in_threads(lambda number: 1 / number, [1, 2, 0, 4], 2, 2)
    assert [next(results), next(results)] == [1, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)
