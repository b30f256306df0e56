"""The factored normal: the law of Normal.to_event, at the cost of one matrix product."""

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from lvkam_pyro.distributions.factored import FactoredNormal

SHAPES = {
    "all particles meet all data": ((7, 1), (5,)),
    "a leading axis of one": ((7, 1), (1, 5)),
    "particles per datum": ((7, 5), (5,)),
    "one datum": ((7, 1), ()),
    "one particle": ((), (5,)),
    "temperatures and particles": ((3, 7, 1), (5,)),
    "data before particles": ((7,), (5, 1)),
}


def arrays(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    loc = torch.randn(*left, 6, dtype=torch.float64)
    value = torch.randn(*right, 6, dtype=torch.float64)
    return loc, value, torch.rand(6, dtype=torch.float64) + 0.1


@pytest.mark.parametrize("case", SHAPES)
def test_same_density_and_gradients_as_normal(case: str) -> None:
    loc, value, scale = arrays(*SHAPES[case])
    inputs = [t.requires_grad_() for t in (loc, scale, value)]
    exact = dist.Normal(loc, scale).to_event(1).log_prob(value)
    ours = FactoredNormal(loc, scale).log_prob(value)
    torch.testing.assert_close(ours, exact)
    weights = torch.rand_like(exact)
    for got, expected in zip(
        torch.autograd.grad((weights * ours).sum(), inputs),
        torch.autograd.grad((weights * exact).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(got, expected)


def test_float32_does_not_cancel_far_from_zero() -> None:
    loc = torch.randn(50, 1, 64) + 1000.0
    value = torch.randn(20, 64) + 1000.0
    scale = torch.tensor(0.1)
    exact = dist.Normal(loc.double(), 0.1).to_event(1).log_prob(value.double())
    ours = FactoredNormal(loc, scale).log_prob(value)
    # A sum of squares as large as |log_prob| rounds to a few of its own units in the last place.
    assert ((ours - exact) / exact).abs().max() < 16 * torch.finfo(torch.float32).eps


def test_scalar_scale_counts_every_output() -> None:
    loc = torch.randn(4, 6)
    exact = dist.Normal(loc, 0.3).to_event(1).log_prob(torch.zeros(6))
    torch.testing.assert_close(
        FactoredNormal(loc, torch.tensor(0.3)).log_prob(torch.zeros(6)), exact
    )


def test_expand_keeps_the_means_and_grows_the_batch() -> None:
    loc, value, scale = arrays((7, 1), (5,))
    wide = FactoredNormal(loc, scale).expand((7, 5))
    assert wide.loc is loc
    assert wide.batch_shape == (7, 5)
    assert wide.log_prob(value).shape == (7, 5)
    assert wide.sample((2,)).shape == (2, 7, 5, 6)
    assert wide.mean.shape == wide.variance.shape == (7, 5, 6)


def test_draws_have_the_moments() -> None:
    loc, _, scale = arrays((), ())
    draws = FactoredNormal(loc, scale).sample((40_000,))
    limit = 5.0  # standard errors, for 12 comparisons at the suite's failure rate
    assert ((draws.mean(0) - loc).abs() / (scale / 200)).max() < limit
    assert ((draws.std(0) / scale - 1).abs() * (2 * 40_000) ** 0.5).max() < limit


@pytest.mark.parametrize(("loc", "scale"), [((), ()), ((3, 4), (3,)), ((3, 4), (3, 4))])
def test_shapes_that_do_not_fit_are_refused(loc: tuple, scale: tuple) -> None:
    with pytest.raises(ValueError, match="Expected loc of shape"):
        FactoredNormal(torch.zeros(loc), torch.ones(scale))
