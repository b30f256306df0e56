"""The law of few levels, against differences of logistic distribution functions."""

import pytest
import torch
from torch import Tensor

from lvkam_pyro.likelihoods.quantized import QuantizedLogistic
from tests.assertions import assert_within_standard_errors

SHAPES = {
    "all particles meet all data": ((7, 1), (5,)),
    "particles per datum": ((7, 5), (5,)),
    "one datum": ((7, 1), ()),
    "one particle": ((), (5,)),
    "temperatures and particles": ((3, 7, 1), (5,)),
}


def direct_log_prob(loc: Tensor, scale: Tensor, value: Tensor, num_levels: int) -> Tensor:
    """The formula as it is written, which cancels far out."""
    level = (value * num_levels).floor().clamp(max=num_levels - 1)
    below = ((level / num_levels - loc) / scale).sigmoid()
    above = (((level + 1) / num_levels - loc) / scale).sigmoid()
    below = torch.where(level == 0, 0.0, below)
    above = torch.where(level == num_levels - 1, 1.0, above)
    return (num_levels * (above - below)).log().sum(-1)


@pytest.mark.parametrize("num_levels", [4, 17], ids=["tabulated", "one by one"])
@pytest.mark.parametrize("case", SHAPES)
def test_density_and_gradients_are_those_of_the_formula(case: str, num_levels: int) -> None:
    left, right = SHAPES[case]
    loc = torch.randn(*left, 6, dtype=torch.float64, requires_grad=True)
    # So wide that the differences of the formula as written do not cancel.
    scale = (torch.rand(6, dtype=torch.float64) + 0.5).requires_grad_()
    value = torch.rand(*right, 6, dtype=torch.float64)
    exact = direct_log_prob(loc, scale, value, num_levels)
    ours = QuantizedLogistic(loc, scale, num_levels=num_levels).log_prob(value)
    torch.testing.assert_close(ours, exact)
    weights = torch.rand_like(exact)
    for got, expected in zip(
        torch.autograd.grad((weights * ours).sum(), [loc, scale]),
        torch.autograd.grad((weights * exact).sum(), [loc, scale]),
        strict=True,
    ):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("num_levels", [2, 3, 17, 256])
def test_levels_have_probabilities_that_add_up_to_one(num_levels: int) -> None:
    centres = (torch.arange(num_levels, dtype=torch.float64)[:, None] + 0.5) / num_levels
    loc = 2 * torch.randn(20, 1, 1, dtype=torch.float64)
    law = QuantizedLogistic(loc, torch.tensor(0.1).double(), num_levels=num_levels)
    total = (law.log_prob(centres).exp() / num_levels).sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_far_means_are_finite_with_their_gradients() -> None:
    loc = torch.tensor([[-50.0], [50.0]], requires_grad=True)
    law = QuantizedLogistic(loc, torch.tensor(0.01), num_levels=10)
    log_prob = law.log_prob(torch.tensor([[0.95]]))
    # From -50 the level that begins at 0.9 is 5090 scales away; from 50 it is certain.
    expected = torch.tensor([-5090.0, 0.0]) + torch.tensor(10.0).log()
    torch.testing.assert_close(log_prob, expected)
    log_prob.sum().backward()
    torch.testing.assert_close(loc.grad, torch.tensor([[100.0], [0.0]]))


def test_draws_have_the_moments_and_are_even_within_a_level() -> None:
    num_draws = 40_000
    loc = torch.tensor([-0.3, 0.1, 0.52, 1.4])
    law = QuantizedLogistic(loc, torch.tensor([0.2, 0.05, 0.3, 0.2]), num_levels=8)
    draws = law.sample((num_draws,))
    assert law.support.check(draws).all()
    assert_within_standard_errors(draws.mean(0), law.mean, (law.variance / num_draws).sqrt())
    squares = (draws - law.mean).square()
    assert_within_standard_errors(squares.mean(0), law.variance, squares.std(0) / num_draws**0.5)
    within = (draws * 8).frac()
    error = torch.full((4,), (12 * num_draws) ** -0.5)
    assert_within_standard_errors(within.mean(0), torch.full((4,), 0.5), error)


def test_expand_keeps_the_means_and_grows_the_batch() -> None:
    law = QuantizedLogistic(torch.randn(7, 1, 6), torch.tensor(0.1), num_levels=4)
    wide = law.expand((7, 5))
    assert wide.loc is law.loc
    assert wide.log_prob(torch.rand(5, 6)).shape == (7, 5)
    assert wide.sample((2,)).shape == (2, 7, 5, 6)
    assert wide.mean.shape == wide.variance.shape == (7, 5, 6)


def test_values_outside_have_no_density() -> None:
    value = torch.tensor([[0.5, -0.01], [1.01, 0.5], [torch.nan, 0.5], [0.0, 1.0]])
    law = QuantizedLogistic(torch.zeros(2), torch.tensor(0.5), num_levels=3, validate_args=False)
    assert law.log_prob(value)[:2].tolist() == [-torch.inf, -torch.inf]
    assert law.log_prob(value).isnan().tolist() == [False, False, True, False]
    strict = QuantizedLogistic(torch.zeros(2), torch.tensor(0.5), num_levels=3, validate_args=True)
    with pytest.raises(ValueError, match=r"values in \[0, 1\], got .* NormalLikelihood"):
        strict.log_prob(value)


WRONG = {
    "scalar mean": ((torch.tensor(0.0), torch.tensor(1.0), 3), r"\(\*batch, O\)"),
    "scale of another size": ((torch.zeros(3, 4), torch.ones(3), 3), r"\(3, 4\) and \(3,\)"),
    "one level": ((torch.zeros(4), torch.tensor(1.0), 1), "num_levels >= 2, but got 1"),
}


@pytest.mark.parametrize(("arguments", "match"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_refused(arguments: tuple[Tensor, Tensor, int], match: str) -> None:
    loc, scale, num_levels = arguments
    with pytest.raises(ValueError, match=match):
        QuantizedLogistic(loc, scale, num_levels=num_levels)
