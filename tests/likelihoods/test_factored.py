"""The factored laws: those of torch, at the cost of one matrix product."""

from collections.abc import Sequence

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from lvkam_pyro.likelihoods.bernoulli import FactoredBernoulli
from lvkam_pyro.likelihoods.categorical import FactoredCategorical
from lvkam_pyro.likelihoods.joint import Concatenation
from lvkam_pyro.likelihoods.normal import FactoredNormal
from lvkam_pyro.likelihoods.quantized import QuantizedLogistic
from tests.assertions import assert_within_standard_errors

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
    assert_same_gradients(ours, exact, inputs)


def assert_same_gradients(ours: Tensor, exact: Tensor, inputs: Sequence[Tensor]) -> None:
    weights = torch.rand_like(exact)
    for got, expected in zip(
        torch.autograd.grad((weights * ours).sum(), inputs),
        torch.autograd.grad((weights * exact).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("case", SHAPES)
def test_same_density_and_gradients_as_bernoulli(case: str) -> None:
    logits, value, _ = arrays(*SHAPES[case])
    logits, value = (3 * logits).requires_grad_(), (value > 0).double()
    exact = dist.Bernoulli(logits=logits).to_event(1).log_prob(value)
    ours = FactoredBernoulli(logits).log_prob(value)
    torch.testing.assert_close(ours, exact)
    assert_same_gradients(ours, exact, [logits])


@pytest.mark.parametrize("case", SHAPES)
def test_same_density_and_gradients_as_categorical(case: str) -> None:
    left, right = SHAPES[case]
    logits = torch.randn(*left, 6, 4, dtype=torch.float64, requires_grad=True)
    value = torch.randint(4, (*right, 6)).double()
    exact = dist.Categorical(logits=logits).to_event(1).log_prob(value)
    ours = FactoredCategorical(logits).log_prob(value)
    torch.testing.assert_close(ours, exact)
    assert_same_gradients(ours, exact, [logits])


def test_missing_categories_are_summed_out() -> None:
    logits = torch.randn(7, 1, 3, 4, dtype=torch.float64)
    value = torch.tensor([[2.0, -1.0, 0.0], [-1.0, -1.0, -1.0]])
    ours = FactoredCategorical(logits).log_prob(value)
    filled = torch.stack([torch.tensor([2, v, 0]) for v in range(4)])
    exact = dist.Categorical(logits=logits).to_event(1).log_prob(filled).logsumexp(1)
    torch.testing.assert_close(ours[:, 0], exact)
    assert (ours[:, 1] == 0).all()


def test_far_logits_are_finite_with_their_gradients() -> None:
    logits = torch.tensor([[-500.0, 500.0]], requires_grad=True)
    log_prob = FactoredBernoulli(logits).log_prob(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    torch.testing.assert_close(log_prob, torch.tensor([0.0, -1000.0]))
    log_prob.sum().backward()
    assert torch.equal(logits.grad, torch.tensor([[1.0, -1.0]]))


DISCRETE = {
    "bernoulli": lambda logits: FactoredBernoulli(logits[..., 0]),
    "categorical": FactoredCategorical,
}


@pytest.mark.parametrize("law", DISCRETE.values(), ids=DISCRETE)
def test_discrete_law_expands_without_a_copy_and_draws_in_its_support(law: type) -> None:
    logits = torch.randn(7, 1, 6, 4)
    small = law(logits)
    wide = small.expand((7, 5))
    assert wide.logits.data_ptr() == small.logits.data_ptr()
    draws = wide.sample((2,))
    assert draws.shape == (2, 7, 5, 6)
    assert draws.dtype == logits.dtype
    assert wide.support.check(draws).all()
    assert wide.log_prob(draws[0, 0]).shape == (7, 5)


def test_discrete_draws_have_their_frequencies() -> None:
    num_draws = 20_000
    logits = torch.randn(6, 4)
    tokens = FactoredCategorical(logits).sample((num_draws,))
    found = torch.stack([(tokens == v).float().mean(0) for v in range(4)], -1)
    exact = FactoredCategorical(logits).probs
    assert_within_standard_errors(found, exact, (exact * (1 - exact) / num_draws).sqrt())
    law = FactoredBernoulli(logits[:, 0])
    found = law.sample((num_draws,)).mean(0)
    assert_within_standard_errors(found, law.mean, (law.variance / num_draws).sqrt())


WRONG_VALUES = {
    "a half": (FactoredBernoulli(torch.zeros(2), validate_args=True), [0.5, 1.0]),
    "a category too many": (FactoredCategorical(torch.zeros(2, 3), validate_args=True), [3.0, 0.0]),
    "below missing": (FactoredCategorical(torch.zeros(2, 3), validate_args=True), [-2.0, 0.0]),
    "between categories": (FactoredCategorical(torch.zeros(2, 3), validate_args=True), [0.5, 0.0]),
}


@pytest.mark.parametrize(("law", "value"), WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_values_outside_the_support_are_refused(law: dist.Distribution, value: list) -> None:
    with pytest.raises(ValueError, match="within the support"):
        law.log_prob(torch.tensor(value))


def test_logits_without_a_category_axis_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(\*batch, O\), got a scalar"):
        FactoredBernoulli(torch.tensor(0.0))
    with pytest.raises(ValueError, match=r"\(\*batch, O, V\), got shape \(3,\)"):
        FactoredCategorical(torch.zeros(3))


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


def test_datum_that_is_not_finite_spoils_no_other() -> None:
    means, data = torch.randn(4, 1, 3), torch.randn(5, 3)
    exact = FactoredNormal(means, torch.tensor(0.5)).log_prob(data)
    for bad in (torch.nan, torch.inf):
        spoilt = torch.cat([data, torch.tensor([[0.0, bad, 0.0]])])
        law = FactoredNormal(means, torch.tensor(0.5), validate_args=False)
        torch.testing.assert_close(law.log_prob(spoilt)[:, :5], exact, atol=1e-4, rtol=1e-5)
        assert not law.log_prob(spoilt)[:, 5].isfinite().any()


EXPANDED = {
    "normal": lambda: FactoredNormal(torch.zeros(2, 5, 3), torch.tensor(1.0)),
    "bernoulli": lambda: FactoredBernoulli(torch.zeros(2, 5, 3)),
    "categorical": lambda: FactoredCategorical(torch.zeros(2, 5, 3, 4)),
    "quantized": lambda: QuantizedLogistic(torch.zeros(2, 5, 3), torch.ones(3), num_levels=4),
    "joint": lambda: Concatenation([FactoredBernoulli(torch.zeros(2, 5, 3))]),
}


@pytest.mark.parametrize("name", EXPANDED)
def test_expand_refuses_what_does_not_broadcast(name: str) -> None:
    with pytest.raises(ValueError, match=r"\(2, 5\) broadcasts to, got \(3, 3\)"):
        EXPANDED[name]().expand((3, 3))
