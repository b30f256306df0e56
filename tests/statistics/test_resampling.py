"""Resampling draws particles in proportion to their weights, in random order: one contract."""

import pytest
import torch
from scipy.stats import chisquare, norm
from torch import Tensor

from lvkam_pyro.statistics.resampling import (
    Resampler,
    resample_multinomial,
    resample_residual,
    resample_stratified,
    resample_systematic,
    systematic_indices,
)
from tests.assertions import assert_p_value, assert_within_standard_errors

SCHEMES = {
    "multinomial": resample_multinomial,
    "residual": resample_residual,
    "stratified": resample_stratified,
    "systematic": resample_systematic,
}
NUM_PARTICLES, NUM_DRAWS, NUM_DATA = 20, 50, 400


def every_scheme(test: object) -> object:
    return pytest.mark.parametrize("resample", SCHEMES.values(), ids=SCHEMES)(test)


def count_copies(index: Tensor, num_particles: int) -> Tensor:
    return torch.nn.functional.one_hot(index, num_particles).sum(0).double()


@every_scheme
@pytest.mark.parametrize("num_draws", [1, 7, 50])
def test_copies_are_proportional_to_the_weights(resample: Resampler, num_draws: int) -> None:
    log_weights = torch.randn(NUM_PARTICLES, 1)
    index = resample(log_weights.expand(-1, 5000), num_draws)
    assert index.shape == (num_draws, 5000)
    assert index.dtype == torch.int64
    copies = count_copies(index, NUM_PARTICLES)
    # The multinomial's variance bounds that of every scheme.
    share = log_weights.double().softmax(0).squeeze()
    error = (num_draws * share * (1 - share) / len(copies)).sqrt()
    assert_within_standard_errors(copies.mean(0), num_draws * share, error)


@every_scheme
def test_each_draw_follows_the_weights(resample: Resampler) -> None:
    log_weights = torch.randn(5, 1)
    index = resample(log_weights.expand(5, 4000), 3)
    expected = 4000 * log_weights.double().softmax(0).squeeze()
    for draw in index:
        assert_p_value(chisquare(draw.bincount(minlength=5), expected).pvalue)


@every_scheme
def test_draws_are_shuffled_for_each_datum(resample: Resampler) -> None:
    index = resample(torch.zeros(NUM_PARTICLES, NUM_DATA), NUM_DRAWS).double()
    time = torch.arange(NUM_DRAWS, dtype=torch.double)
    correlations = torch.stack([torch.corrcoef(torch.stack([time, i]))[0, 1] for i in index.T])
    z = correlations.mean() * (NUM_DATA * (NUM_DRAWS - 1)) ** 0.5
    assert_p_value(2 * norm.sf(float(z.abs())))
    assert not torch.equal(index[:, 0], index[:, 1])


@every_scheme
def test_particles_of_no_weight_are_never_drawn(resample: Resampler) -> None:
    log_weights = torch.tensor([[-torch.inf], [0.0], [-torch.inf]])
    assert (resample(log_weights, 1000) == 1).all()


@every_scheme
def test_weights_count_up_to_a_factor(resample: Resampler) -> None:
    log_weights = torch.randn(NUM_PARTICLES, 3, dtype=torch.float64)
    drawn = []
    for shift in (0.0, -1e5):
        torch.manual_seed(1)
        drawn.append(resample(log_weights + shift, NUM_DRAWS))
    # Shifted weights are rounded at the twelfth digit: next to no draw may fall differently.
    assert (drawn[0] != drawn[1]).double().mean() < 0.01


@every_scheme
def test_data_without_weight_are_named(resample: Resampler) -> None:
    log_weights = torch.tensor([[0.0, -torch.inf, torch.nan], [0.0, -torch.inf, 0.0]])
    with pytest.raises(ValueError, match=r"got none for \[1, 2\]"):
        resample(log_weights, 3)


def test_the_variance_of_copies_falls_from_scheme_to_scheme() -> None:
    """Douc, Cappe and Moulines (2005): residual and stratified below multinomial, always."""
    log_weights = torch.randn(NUM_PARTICLES, 1).expand(-1, 5000)
    variance = {
        name: float(count_copies(resample(log_weights, NUM_DRAWS), NUM_PARTICLES).var(0).sum())
        for name, resample in SCHEMES.items()
    }
    share = log_weights[:, 0].double().softmax(0)
    exact = float((NUM_DRAWS * share * (1 - share)).sum())
    # Twenty variances of 5000 counts each: their sum is known to about a hundredth.
    assert variance["multinomial"] == pytest.approx(exact, rel=0.05)
    assert variance["residual"] < 0.9 * variance["multinomial"]
    assert variance["stratified"] < 0.9 * variance["residual"]
    assert variance["systematic"] < 0.9 * variance["stratified"]


@pytest.mark.parametrize("name", ["residual", "systematic"])
def test_copies_are_within_one_of_their_expectation(name: str) -> None:
    log_weights = torch.randn(NUM_PARTICLES, NUM_DATA)
    index = SCHEMES[name](log_weights, NUM_DRAWS)
    shortfall = NUM_DRAWS * log_weights.double().softmax(0).T - count_copies(index, NUM_PARTICLES)
    assert shortfall.max() < 1
    if name == "systematic":
        assert shortfall.min() > -1


@pytest.mark.parametrize("name", ["residual", "stratified", "systematic"])
def test_whole_numbers_of_copies_are_certain(name: str) -> None:
    copies = torch.tensor([1.0, 0.0, 4.0, 3.0], dtype=torch.float64)
    index = SCHEMES[name](copies.log()[:, None].expand(-1, NUM_DATA), 8)
    assert torch.equal(count_copies(index, 4), copies.expand(NUM_DATA, -1))


def test_a_comb_counts_rows_by_themselves() -> None:
    weights = torch.tensor([[[1.0, 3.0], [0.0, 1.0]]])
    assert systematic_indices(weights, 4).tolist() == [[[0, 1, 1, 1], [1, 1, 1, 1]]]
