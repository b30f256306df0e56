"""The test for uniformity, against enumeration of all counts, and on uniform values."""

import re
from collections.abc import Callable, Iterator
from itertools import combinations_with_replacement
from math import comb

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, multinomial
from torch import Tensor

from lvkam_pyro.statistics.uniformity import _process, check_uniformity
from tests.assertions import TEST_FAILURE_RATE, assert_p_value

SMALL = [(1, (0.3,)), (2, (0.5, 0.9)), (4, (0.25, 0.5, 0.75)), (6, (0.1, 0.2, 0.7, 0.8))]
every_small = pytest.mark.parametrize(("num_values", "points"), SMALL)


def enumerate_counts(
    num_values: int, points: tuple[float, ...]
) -> Iterator[tuple[np.ndarray, float]]:
    """Every possible row of counts, and its chance for uniform values."""
    cells = np.diff(points, prepend=0.0, append=1.0)
    for counts in combinations_with_replacement(range(num_values + 1), len(points)):
        inside = np.diff(counts, prepend=0, append=num_values)
        yield np.array(counts), float(multinomial.pmf(inside, num_values, cells))


@every_small
def test_p_value_is_the_chance_of_such_a_statistic(
    num_values: int, points: tuple[float, ...]
) -> None:
    process = _process(num_values, points)
    found = list(enumerate_counts(num_values, points))
    assert len(found) == comb(num_values + len(points), len(points))
    gammas = np.array([process.statistic(counts) for counts, _ in found])
    chances = np.array([chance for _, chance in found])
    for gamma in gammas:
        # Counts of one statistic differ in their last digits.
        expected = chances[gammas <= gamma * (1 + 1e-9)].sum()
        assert process.p_value(gamma * (1 + 1e-9)) == pytest.approx(expected, abs=1e-9)


@every_small
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_band_holds_its_level_and_no_narrower_one_does(
    num_values: int, points: tuple[float, ...], level: float
) -> None:
    process = _process(num_values, points)
    gamma = process.gamma_of(level)
    lower, upper = process.acceptance(gamma)
    found = list(enumerate_counts(num_values, points))
    inside = sum(p for c, p in found if (c >= lower).all() and (c <= upper).all())
    assert inside >= level - 1e-12
    gammas = np.array([process.statistic(counts) for counts, _ in found])
    chances = np.array([chance for _, chance in found])
    narrower = gammas[gammas > gamma * (1 + 1e-6)].min(initial=1.0)
    assert chances[gammas > narrower * (1 + 1e-9)].sum() < level


def test_uniform_values_are_rejected_as_often_as_the_level_says() -> None:
    p_values = check_uniformity(torch.rand(60, 2000, dtype=torch.float64)).p_value
    for level in (0.01, 0.1, 0.5):
        rejected = int((p_values <= level).sum())
        assert_p_value(binomtest(rejected, len(p_values), level).pvalue)


@pytest.mark.parametrize(
    "values",
    [torch.rand(300).square(), torch.rand(300).sqrt(), 0.25 + torch.rand(300) / 2],
    ids=["low", "high", "middle"],
)
def test_other_values_are_rejected(values: Tensor) -> None:
    result = check_uniformity(values)
    assert result.p_value < TEST_FAILURE_RATE
    assert bool(((result.ecdf < result.lower) | (result.ecdf > result.upper)).any())


def test_samples_are_tested_each_by_itself() -> None:
    values = torch.rand(60, 2, 3)
    together = check_uniformity(values)
    alone = check_uniformity(values[:, 1, 2])
    assert torch.equal(together.ecdf[1, 2], alone.ecdf)
    assert torch.equal(together.p_value[1, 2], alone.p_value)


def test_values_at_a_point_are_counted_at_it() -> None:
    points = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    result = check_uniformity(torch.tensor([0.25, 0.5, 0.5, 0.9]), points=points)
    assert result.ecdf.tolist() == [0.25, 0.75, 0.75]


def test_impossible_values_have_a_p_value_above_zero() -> None:
    p_value = float(check_uniformity(torch.zeros(100)).p_value)
    assert 0 < p_value < 1e-100


BAD_INPUT: list[tuple[Callable[[], object], str]] = [
    (lambda: check_uniformity(torch.tensor([0.2, 1.2])), "with 1 outside"),
    (lambda: check_uniformity(torch.tensor([0.2, torch.nan])), "with 1 outside"),
    (lambda: check_uniformity(torch.tensor(0.5)), "shape ()"),
    (lambda: check_uniformity(torch.zeros(0)), "shape (0,)"),
    (lambda: check_uniformity(torch.rand(9), level=1.0), "level between 0 and 1"),
]


@pytest.mark.parametrize(("call", "match"), BAD_INPUT)
def test_bad_input(call: Callable[[], object], match: str) -> None:
    with pytest.raises(ValueError, match=re.escape(match)):
        call()
