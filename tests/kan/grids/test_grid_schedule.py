"""The schedule is its recursion, as a pure function of the step."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvkam_pyro.kan.grids.grid_schedule import GridSchedule


def by_recursion(every: int, decay: float, limit: int) -> list[int]:
    """The times t += k, k *= 2 - decay, from t = 0, before they are rounded."""
    step, distance, steps = 0.0, float(every), []
    while step + distance < limit:
        step += distance
        distance *= 2 - decay
        steps.append(step)
    return steps


@settings(max_examples=100, deadline=None, derandomize=True)
@given(every=st.integers(1, 40), decay=st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 0.99, 1 - 1e-9, 1.0]))
def test_is_the_recursion(every: int, decay: float) -> None:
    schedule = GridSchedule(every=every, decay=decay)
    due = [step for step in range(600) if schedule(step)]
    expected = by_recursion(every, decay, 599)
    assert len(due) == len(expected)
    # Rounded to the nearest, up to the rounding of the recursion itself.
    assert all(abs(a - b) <= 0.5 + 1e-6 for a, b in zip(due, expected, strict=True))


def test_values() -> None:
    def due(**options: float) -> list[int]:
        return [step for step in range(-5, 60) if GridSchedule(**options)(step)]

    assert due(every=5, decay=1.0) == [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55]
    assert due(every=1, decay=0.0) == [1, 3, 7, 15, 31]
    assert due(every=7, decay=0.0, last=20) == [7]
    assert due(every=7, decay=0.0, last=21) == [7, 21]


@pytest.mark.parametrize("decay", [0.0, 0.03, 0.2, 0.5, 0.77, 0.9, 0.999, 1.0])
def test_no_update_is_lost_to_rounding(decay: float) -> None:
    for every in (1, 2, 3, 7):
        schedule = GridSchedule(every=every, decay=decay)
        assert all(schedule(schedule._time(number)) for number in range(1, 40))


def test_late_steps_cost_no_more_than_early_ones() -> None:
    assert GridSchedule(every=10, decay=1.0)(10**15)
    assert GridSchedule(every=3, decay=0.0)(3 * (2**40 - 1))
    assert not GridSchedule(every=3, decay=0.0)(3 * 2**40)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"every": 0}, "every >= 1, but got 0"),
        ({"every": 2.5}, "every to be an integer, but got 2.5"),
        ({"every": 5, "decay": -0.1}, "decay from 0.*got -0.1"),
        ({"every": 5, "decay": 1.1}, "decay from 0.*got 1.1"),
        ({"every": 5, "decay": math.nan}, "decay from 0.*got nan"),
        ({"every": 5, "last": 0}, "last >= 1, but got 0"),
    ],
)
def test_wrong_numbers_are_refused(options: dict[str, float], match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=match):
        GridSchedule(**options)
