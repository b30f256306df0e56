"""Resampling draws particles in proportion to their weights, in random order."""

import pytest
import torch
from scipy.stats import chisquare, norm

from lvkam_pyro.distributions.resampling import resample_systematic
from tests.statistics import assert_p_value

NUM_PARTICLES, NUM_DRAWS, NUM_DATA = 20, 50, 400


def test_copies_are_within_one_of_their_expectation() -> None:
    log_weights = torch.randn(NUM_PARTICLES, NUM_DATA)
    index = resample_systematic(log_weights, NUM_DRAWS)
    copies = torch.nn.functional.one_hot(index, NUM_PARTICLES).sum(0).T
    expected = NUM_DRAWS * log_weights.double().softmax(0)
    assert index.shape == (NUM_DRAWS, NUM_DATA)
    assert (copies - expected).abs().max() < 1


def test_each_draw_follows_the_weights() -> None:
    log_weights = torch.randn(5, 1)
    index = resample_systematic(log_weights.expand(5, 4000), 1)
    expected = 4000 * log_weights.double().softmax(0).squeeze()
    assert_p_value(chisquare(index[0].bincount(minlength=5), expected).pvalue)


def test_draws_are_shuffled_for_each_datum() -> None:
    index = resample_systematic(torch.zeros(NUM_PARTICLES, NUM_DATA), NUM_DRAWS).double()
    time = torch.arange(NUM_DRAWS, dtype=torch.double)
    correlations = torch.stack([torch.corrcoef(torch.stack([time, i]))[0, 1] for i in index.T])
    z = correlations.mean() * (NUM_DATA * (NUM_DRAWS - 1)) ** 0.5
    assert_p_value(2 * norm.sf(float(z.abs())))
    assert not torch.equal(index[:, 0], index[:, 1])


def test_particles_of_no_weight_are_never_drawn() -> None:
    log_weights = torch.tensor([[-torch.inf], [0.0], [-torch.inf]])
    assert (resample_systematic(log_weights, 1000) == 1).all()


def test_datum_without_weight_is_named() -> None:
    log_weights = torch.tensor([[0.0, -torch.inf], [0.0, -torch.inf]])
    with pytest.raises(ValueError, match=r"got none for \[1\]"):
        resample_systematic(log_weights, 3)
