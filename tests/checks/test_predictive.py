"""Predictive checks: statistics by hand, exact p-values, and misfits that are known."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from lvkam_pyro.checks.discrepancies import (
    CORRELATION,
    DEVIATION,
    DISCREPANCIES,
    MAXIMUM,
    MEAN,
    MINIMUM,
    NEAREST,
    Discrepancy,
)
from lvkam_pyro.checks.predictive import (
    PredictiveCheck,
    posterior_predictive_check,
    prior_predictive_check,
)
from lvkam_pyro.statistics.uniformity import check_uniformity
from tests.assertions import assert_p_value, assert_within_standard_errors
from tests.checks import programs
from tests.checks.programs import linear_gaussian


def nearest_by_tree(x: np.ndarray) -> float:
    return float(cKDTree(x).query(x, k=2)[0][:, 1].mean())


def root_mean_square_correlation(x: np.ndarray) -> float:
    matrix = np.corrcoef(x.T)
    return float(np.sqrt(np.mean(matrix[~np.eye(len(matrix), dtype=bool)] ** 2)))


BY_HAND: list[tuple[Discrepancy, Callable[[np.ndarray], float]]] = [
    (MEAN, lambda x: float(x.mean())),
    (DEVIATION, lambda x: float(np.sqrt(x.var(0, ddof=1).mean()))),
    (MINIMUM, lambda x: float(x.min())),
    (MAXIMUM, lambda x: float(x.max())),
    (CORRELATION, root_mean_square_correlation),
    (NEAREST, nearest_by_tree),
]


@pytest.mark.parametrize(
    ("discrepancy", "by_hand"), BY_HAND, ids=[item.name for item, _ in BY_HAND]
)
def test_statistic_is_that_by_hand(
    discrepancy: Discrepancy, by_hand: Callable[[np.ndarray], float]
) -> None:
    data = torch.randn(3, 20, 4, dtype=torch.float64)
    expected = [by_hand(one.numpy()) for one in data]
    # torch.cdist takes differences of squares.
    assert np.allclose(discrepancy.compute(data), expected, rtol=1e-6)


def test_every_default_statistic_is_tested_by_hand() -> None:
    assert {item.name for item, _ in BY_HAND} == {item.name for item in DISCREPANCIES}


def test_p_values_of_the_models_own_data_are_uniform() -> None:
    # With 199 data sets and no ties they are the multiples of 1/100, each as likely.
    p_values = [
        list(
            prior_predictive_check(
                linear_gaussian, programs.draw_data(8), num_draws=199, seed=seed
            ).p_values.values()
        )
        for seed in range(150)
    ]
    points = torch.arange(1, 100) / 100
    rounded = torch.tensor(p_values).mul(100).round() / 100
    for p_value in check_uniformity(rounded, points=points).p_value:
        assert_p_value(float(p_value))


def test_replicated_mean_has_its_exact_distribution() -> None:
    x = programs.draw_data(10)
    draws = prior_predictive_check(linear_gaussian, x, num_draws=4000).replicated[:, 0]
    ones = torch.ones(programs.NUM_OUTPUTS) / programs.NUM_OUTPUTS
    variance = (programs.LOADINGS @ ones).square().sum() + programs.SCALE**2 * ones.square().sum()
    exact = (variance / 10).double()
    assert_within_standard_errors(draws.mean(), torch.zeros(()), (exact / 4000).sqrt())
    assert_within_standard_errors(draws.var(), exact, exact * (2 / 4000) ** 0.5)


def test_replicated_mean_given_the_posterior_has_its_exact_distribution() -> None:
    x = programs.draw_data(10)
    check = posterior_predictive_check(
        linear_gaussian, x, posterior=programs.exact_guide, num_draws=4000
    )
    draws = check.replicated[:, 0]
    mean = (programs.posterior_mean(x) @ programs.LOADINGS).mean().double()
    assert_within_standard_errors(draws.mean(), mean, draws.std() / 4000**0.5)


WRONG: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "level": (lambda x: x + 2.0, "mean"),
    "scale": (lambda x: 2.0 * x, "standard deviation"),
    "outlier": (lambda x: torch.cat([x, torch.full_like(x[:1], 30.0)]), "maximum"),
    "copies": (lambda x: x[:25].repeat(2, 1), "nearest neighbour"),
    "shuffled columns": (
        lambda x: torch.stack([column[torch.randperm(len(x))] for column in x.T], -1),
        "correlation (r.m.s.)",
    ),
}


@pytest.mark.parametrize(("change", "statistic"), WRONG.values(), ids=WRONG)
def test_misfit_is_found_by_its_statistic(
    change: Callable[[Tensor], Tensor], statistic: str
) -> None:
    check = prior_predictive_check(linear_gaussian, change(programs.draw_data(50)))
    assert check.p_values[statistic] == min(check.p_values.values()) == pytest.approx(2 / 2001)
    (finding,) = check.findings
    assert statistic in finding.problem


def test_posterior_predictive_p_values_are_nearer_to_one_half() -> None:
    data = [programs.draw_data(8) for _ in range(60)]
    own = [prior_predictive_check(linear_gaussian, x, num_draws=99) for x in data]
    given = [
        posterior_predictive_check(linear_gaussian, x, posterior=programs.exact_guide, num_draws=99)
        for x in data
    ]

    def share_of_small(checks: list[PredictiveCheck]) -> float:
        return sum(check.p_values["mean"] < 0.3 for check in checks) / len(checks)

    assert share_of_small(list(given)) < share_of_small(list(own))


def test_one_value_a_datum_has_no_correlation() -> None:
    x = torch.randn(6, 1)
    check = prior_predictive_check(lambda data: linear_gaussian(data.expand(-1, 4)), x)
    assert "correlation (r.m.s.)" in check.names
    alone = prior_predictive_check(programs.two_latents, torch.ones(6), num_draws=50)
    assert "correlation (r.m.s.)" not in alone.names


def test_statistics_of_the_user() -> None:
    spread = Discrepancy("range", lambda x: x.amax((1, 2)) - x.amin((1, 2)), "Rescale.")
    x = programs.draw_data(9)
    check = prior_predictive_check(linear_gaussian, x, discrepancies=[spread], num_draws=50)
    assert check.names == ("range",)
    assert float(check.observed) == pytest.approx(float(x.max() - x.min()))


X = programs.draw_data(4)
BAD_INPUT: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: prior_predictive_check(linear_gaussian, X[:2]), ValueError, "got 2 and 6"),
    (
        lambda: prior_predictive_check(linear_gaussian, X, discrepancies=[]),
        ValueError,
        "got 4 and 0",
    ),
    (lambda: prior_predictive_check(linear_gaussian, X, num_draws=5), ValueError, ">= 10"),
    (
        lambda: posterior_predictive_check(programs.only_a_factor, torch.ones(4)),
        ValueError,
        "pyro.factor alone",
    ),
]


@pytest.mark.parametrize(("call", "error", "match"), BAD_INPUT)
def test_bad_input(call: Callable[[], object], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=re.escape(match)):
        call()
