"""Sums over chains of discrete latents, against the sum over all of their values."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lvkam_pyro.tracing.chains import Named, sum_over_chain

NUM_VALUES = 3


def named(axes: str, num_particles: int = 5) -> Named:
    sizes = [num_particles if axis == "s" else NUM_VALUES for axis in axes]
    generator = torch.Generator().manual_seed(sum(map(ord, axes)))
    return axes, torch.randn(sizes, generator=generator, dtype=torch.float64)


def sum_over_all(factors: list[Named], kept: str) -> Tensor:
    equation = ",".join(axes for axes, _ in factors) + "->" + kept
    return torch.einsum(equation, *(factor.exp() for _, factor in factors)).log()


@pytest.mark.parametrize(
    "axes",
    [
        pytest.param(("a", "ab", "bc"), id="shortest"),
        pytest.param(("ab", "bc", "cd", "sa", "sb", "cs", "ds"), id="shared moves"),
        pytest.param(("bas", "sbc", "d", "sdc", "bs", "b"), id="axes in any order"),
        pytest.param(("dc", "s", "ca", "asb"), id="order of the path, and no latent"),
        pytest.param(("abs", "ba", "bc", "b"), id="two factors of a move"),
    ],
)
def test_sum_is_that_over_all_values(axes: tuple[str, ...]) -> None:
    factors = [named(each) for each in axes]
    summed = {axis for each in axes for axis in each if axis != "s"}
    kept = "s" if any("s" in each for each in axes) else ""
    found = sum_over_chain(factors, summed, kept)
    assert found is not None
    assert_close(found, sum_over_all(factors, kept))


@pytest.mark.parametrize(
    ("axes", "summed"),
    [
        (("a", "ab"), "ab"),
        (("ab", "ac", "ad"), "abcd"),
        (("ab", "bc", "ca"), "abc"),
        (("ab", "bc", "de"), "abcde"),
        (("abc", "cd"), "abcd"),
        (("ab", "bcp"), "abc"),
        (("s",), ""),
    ],
)
def test_what_is_no_chain_is_left_to_others(axes: tuple[str, ...], summed: str) -> None:
    assert sum_over_chain([named(each) for each in axes], summed, "s") is None


def test_latents_of_unlike_sizes_are_left_to_others() -> None:
    factors = [("ab", torch.zeros(2, 3)), ("bc", torch.zeros(3, 3))]
    assert sum_over_chain(factors, "abc", "") is None


def test_forbidden_moves_leave_finite_gradients() -> None:
    log_moves = torch.tensor([[0.5, 0.5], [0.0, 1.0]]).log().double()
    levels = torch.zeros(4, 2, dtype=torch.float64, requires_grad=True)
    moves = [(pair, log_moves) for pair in ("ab", "bc", "cd")]
    states = list(zip("abcd", levels, strict=True))
    found = sum_over_chain([*moves, *states], "abcd", "")
    assert found is not None
    (gradient,) = torch.autograd.grad(found, levels)
    assert_close(gradient.sum(-1), torch.ones(4, dtype=torch.float64))


def test_long_chain_has_posterior_shares_as_gradients() -> None:
    length = 40
    axes = [chr(ord("A") + n) for n in range(length)]
    states = [(axis, torch.randn(2, dtype=torch.float64).requires_grad_()) for axis in axes]
    moves = [(a + b, torch.randn(2, 2, dtype=torch.float64)) for a, b in pairwise(axes)]
    found = sum_over_chain([*states, *moves], set(axes), "")
    assert found is not None
    shares = torch.autograd.grad(found, [state for _, state in states])
    assert_close(torch.stack(shares).sum(-1), torch.ones(length, dtype=torch.float64))
