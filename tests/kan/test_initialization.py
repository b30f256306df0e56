"""Where coefficients start: outputs of order 1 whatever the basis."""

import pytest
import torch

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.chebyshev import ChebyshevBasis
from lvkam_pyro.kan.bases.fourier import FourierBasis
from lvkam_pyro.kan.bases.nonuniform import NonUniformBSplineBasis
from lvkam_pyro.kan.bases.radial import RBFBasis
from lvkam_pyro.kan.initialization import draw_base_weights, draw_noise
from lvkam_pyro.kan.layer import KANLayer
from tests.assertions import assert_within_standard_errors
from tests.kan.bases.bases import BASES

all_bases = pytest.mark.parametrize(
    "basis", [pytest.param(b, id=name) for name, b in BASES.items()]
)


def uniform(basis: Basis, *shape: int) -> torch.Tensor:
    low, high = basis.domain
    return low + (high - low) * torch.rand(shape)


@all_bases
@pytest.mark.parametrize("size", [1, 40])
def test_variance_of_a_fresh_output(basis: Basis, size: int) -> None:
    """Every basis' part of an output has the variance asked for, over uniform inputs."""
    num_outputs = 4000
    layer = KANLayer(size, num_outputs, basis=basis, base_activation=None, noise=0.3)
    low, high = basis.domain
    # One point in each of 500 equal parts: the mean over the domain is then exact enough.
    z = low + (high - low) * (torch.arange(500) + torch.rand(size, 500)).T / 500
    squares = layer(z).detach().square().mean(0)
    error = squares.std() / num_outputs**0.5
    assert_within_standard_errors(squares.mean(), torch.tensor(0.09), error, extra=1e-4)


@all_bases
@pytest.mark.parametrize("size", [1, 40])
def test_fresh_outputs_are_of_order_one(basis: Basis, size: int) -> None:
    layer = KANLayer(size, 2000, basis=basis)
    spread = layer(uniform(basis, 200, size)).square().mean().sqrt()
    low, high = basis.domain
    assert 0.25 <= spread <= 0.5 + max(-low, high)


@pytest.mark.parametrize(
    ("basis", "orders"),
    [
        (FourierBasis(7), [0, 1, 1, 2, 2, 3, 3]),
        (ChebyshevBasis(5), [0, 1, 2, 3, 4]),
    ],
)
def test_coefficients_fall_with_the_square_of_the_frequency(
    basis: Basis, orders: list[int]
) -> None:
    spread = draw_noise(basis, 1, 20_000, noise=1.0)[0].std(-1)
    falling = torch.tensor(orders).clamp(min=1) ** -2.0
    torch.testing.assert_close(spread / spread[0], falling, rtol=0.05, atol=0)


def test_splines_fit_noise_of_one_size_at_every_breakpoint() -> None:
    basis = BSplineBasis(grid_size=6)
    coefficients = draw_noise(basis, 4, 20_000, noise=0.2)
    spread = torch.einsum("gk,iko->gio", basis(basis.breakpoints), coefficients).std(-1)
    # Standard errors of 0.5 %: all seven are the same, in all four inputs.
    torch.testing.assert_close(spread, spread.mean().expand(7, 4), rtol=0.03, atol=0)


def test_inputs_with_knots_of_their_own_have_their_own_fits() -> None:
    breakpoints = torch.tensor([[0.0, 0.2, 0.9, 1.0], [0.0, 0.5, 0.6, 1.0]])
    basis = NonUniformBSplineBasis(breakpoints)
    coefficients = draw_noise(basis, 2, 20_000, noise=2**0.5)
    values = torch.einsum("gik,iko->gio", basis(breakpoints.T), coefficients)
    spread = values.std(-1)
    torch.testing.assert_close(spread, spread.mean(0).expand(4, 2), rtol=0.03, atol=0)
    z = torch.linspace(0, 1, 101).unsqueeze(-1).expand(-1, 2)
    variance = torch.einsum("gik,iko->gio", basis(z), coefficients).square().mean((0, 2))
    torch.testing.assert_close(variance, torch.ones(2), rtol=0.03, atol=0)


def test_inputs_share_the_variance() -> None:
    small, large = (draw_noise(RBFBasis(), size, 5000, noise=1.0) for size in (1, 16))
    torch.testing.assert_close(large.std() * 4, small.std(), rtol=0.03, atol=0)


@pytest.mark.parametrize(("mu", "sigma"), [(1.0, 0.0), (0.0, 1.0), (2.0, 0.5)])
def test_moments_of_the_base_weights(mu: float, sigma: float) -> None:
    weights = draw_base_weights(4, 200_000, mu=mu, sigma=sigma)
    # The scale is uniform, mu with a half-width of sigma; the factor has unit variance.
    exact = torch.tensor((mu**2 + sigma**2 / 3) / 4)
    torch.testing.assert_close(weights.square().mean(), exact, rtol=0.02, atol=0)
