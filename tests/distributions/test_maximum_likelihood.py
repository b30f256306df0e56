"""Newton's method for exponential families: moments by quadrature, rises, ends where it should."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lvkam_pyro.distributions.maximum_likelihood import (
    LinearFamily,
    difference_penalty,
    maximize_likelihood,
)
from lvkam_pyro.distributions.panels import Panels
from lvkam_pyro.kan.bases.bspline import BSplineBasis


def spline_family(grid_size: int = 8) -> LinearFamily:
    """Cubic log-splines on [0, 1]."""
    basis = BSplineBasis(grid_size=grid_size).double()
    panels = Panels(basis.breakpoints, torch.distributions.Uniform(0.0, 1.0))
    return LinearFamily(basis(panels.nodes.flatten()), panels.log_weights.flatten())


def test_derivatives_of_the_normaliser() -> None:
    family = spline_family()
    batch = 3 * torch.randn(4, 11, dtype=torch.float64)
    for coefficients, mean, covariance in zip(
        batch, family.mean(batch), family.covariance(batch), strict=True
    ):
        gradient = torch.autograd.functional.jacobian(family.log_normalizer, coefficients)
        hessian = torch.autograd.functional.hessian(family.log_normalizer, coefficients)
        torch.testing.assert_close(mean, gradient)
        torch.testing.assert_close(covariance, hessian)


def test_constants_have_no_variance_and_are_not_moved_along() -> None:
    family = spline_family()
    start = torch.randn(5, 11, dtype=torch.float64)
    covariance = family.covariance(start)
    assert covariance.sum(-1).abs().max() < 1e-15
    mean = family.mean(2 * torch.randn(5, 11, dtype=torch.float64))
    maximum = maximize_likelihood(family, mean, start)
    # Rounding of the gradient, 1e-16, over the relative ridge of 1e-10.
    drift = (maximum.coefficients - start).mean(-1)
    shifted = maximize_likelihood(family, mean, start + 100).coefficients - 100
    torch.testing.assert_close(shifted, maximum.coefficients, rtol=0, atol=1e-3)
    assert (drift.abs() < (maximum.coefficients - start).abs().amax(-1)).all()


def test_finds_the_coefficients_of_exact_moments() -> None:
    """Data without noise: the maximum is where they came from, up to a constant."""
    family = spline_family()
    exact = 2 * torch.randn(6, 11, dtype=torch.float64)
    maximum = maximize_likelihood(family, family.mean(exact), torch.zeros_like(exact))
    assert maximum.num_steps <= 12
    assert maximum.missing.max() < 1e-12
    difference = maximum.coefficients - exact
    torch.testing.assert_close(
        difference, difference.mean(-1, keepdim=True).expand_as(difference), rtol=0, atol=1e-4
    )


@given(st.integers(0, 1000), st.floats(0.1, 100.0), st.floats(0.0, 1.0))
def test_every_step_rises(seed: int, scale: float, strength: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    family = spline_family(4)
    start, exact = scale * torch.randn(2, 7, generator=generator).double()
    mean = family.mean(exact)
    penalty = strength * difference_penalty(7, 3, like=mean)
    objectives = [
        maximize_likelihood(family, mean, start, penalty=penalty, max_steps=n).objective
        for n in range(8)
    ]
    steps = torch.stack(objectives).diff()
    assert (steps >= -1e-13 * (1 + objectives[0].abs())).all()


def test_agrees_with_lbfgs() -> None:
    family = spline_family()
    mean = spline_family().features[::7].mean(0)
    penalty = 0.01 * difference_penalty(11, 2, like=mean)

    def objective(c: Tensor) -> Tensor:
        return c @ mean - 0.5 * c @ penalty @ c - family.log_normalizer(c)

    coefficients = torch.zeros(11, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [coefficients], max_iter=500, tolerance_grad=1e-10, tolerance_change=1e-15
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = -objective(coefficients)
        loss.backward()
        return loss

    optimizer.step(closure)
    maximum = maximize_likelihood(family, mean, torch.zeros(11).double(), penalty=penalty)
    assert maximum.num_steps <= 6
    torch.testing.assert_close(
        maximum.objective, objective(coefficients).detach(), rtol=0, atol=1e-10
    )


def test_features_without_data_end_by_themselves() -> None:
    """The maximum lies at minus infinity there; the steps stop once nothing is to be gained."""
    family = spline_family()
    basis = BSplineBasis(grid_size=8).double()
    mean = basis(torch.linspace(0, 0.4, 100).double()).mean(0)
    maximum = maximize_likelihood(family, mean, torch.zeros(11).double(), max_steps=200)
    assert maximum.missing < 1e-12
    assert maximum.num_steps < 60
    assert maximum.coefficients.isfinite().all()


def test_a_large_third_order_penalty_leaves_a_normal() -> None:
    family = spline_family(20)
    basis = BSplineBasis(grid_size=20).double()
    z = torch.distributions.Beta(2.0, 3.0).sample((500,)).double()
    penalty = 1e4 * difference_penalty(23, 3, like=z)
    maximum = maximize_likelihood(
        family, basis(z).mean(0), torch.zeros(23).double(), penalty=penalty
    )
    nodes = torch.linspace(0, 1, 200).double()
    energy = basis(nodes) @ maximum.coefficients
    assert energy.diff(n=3).abs().max() < 1e-5 * (energy.max() - energy.min())
    # A maximum over parabolas matches the first two moments.
    moments = family.mean(maximum.coefficients)
    powers = torch.stack([nodes, nodes.square()], -1)
    fit = torch.linalg.lstsq(basis(nodes), powers).solution
    torch.testing.assert_close(moments @ fit, basis(z).mean(0) @ fit, rtol=0, atol=1e-8)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_penalty_is_the_sum_of_squared_differences(order: int) -> None:
    coefficients = torch.randn(9, dtype=torch.float64)
    penalty = difference_penalty(9, order, like=coefficients)
    expected = coefficients.diff(n=order).square().sum()
    torch.testing.assert_close(coefficients @ penalty @ coefficients, expected)
    assert torch.linalg.matrix_rank(penalty) == 9 - order
