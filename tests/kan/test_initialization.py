"""Where coefficients start: outputs of order 1 whatever the basis."""

import pytest
import torch

from lvkam_pyro.kan.basis import Basis
from lvkam_pyro.kan.bspline import BSplineBasis
from lvkam_pyro.kan.chebyshev import ChebyshevBasis
from lvkam_pyro.kan.fourier import FourierBasis
from lvkam_pyro.kan.initialization import draw_base_weights, draw_noise
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.rbf import RBFBasis
from tests.kan.bases import BASES

all_bases = pytest.mark.parametrize(
    "basis", [pytest.param(b, id=name) for name, b in BASES.items()]
)


def uniform(basis: Basis, *shape: int) -> torch.Tensor:
    low, high = basis.domain
    return low + (high - low) * torch.rand(shape)


@all_bases
@pytest.mark.parametrize("size", [1, 40])
def test_variance_of_a_fresh_output(basis: Basis, size: int) -> None:
    """The basis' part has the variance asked for, up to what the ends of the domain change."""
    layer = KANLayer(size, 2000, basis=basis, base_activation=None, noise=0.3)
    variance = layer(uniform(basis, 200, size)).square().mean()
    assert 0.4 <= variance / 0.3**2 <= 1.6


@all_bases
@pytest.mark.parametrize("size", [1, 40])
def test_fresh_outputs_are_of_order_one(basis: Basis, size: int) -> None:
    layer = KANLayer(size, 2000, basis=basis)
    spread = layer(uniform(basis, 200, size)).square().mean().sqrt()
    low, high = basis.domain
    assert 0.25 <= spread <= 0.5 + max(-low, high)


@all_bases
def test_size_at_the_breakpoints_is_met(basis: Basis) -> None:
    coefficients = draw_noise(basis, 1, 20_000, noise=0.2)[0]
    with torch.no_grad():
        variance = (basis(basis.breakpoints) @ coefficients).square().mean()
    # One normal number for each output at worst: a standard error of 1 % of the variance.
    torch.testing.assert_close(variance, torch.tensor(0.04), rtol=0.05, atol=0)


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
    values = torch.einsum("gk,iko->gio", basis(basis.breakpoints), coefficients)
    torch.testing.assert_close(values.std(-1), torch.full((7, 4), 0.1), rtol=0.03, atol=0)


def test_inputs_share_the_variance() -> None:
    small, large = (draw_noise(RBFBasis(), size, 5000, noise=1.0) for size in (1, 16))
    torch.testing.assert_close(large.std() * 4, small.std(), rtol=0.03, atol=0)


@pytest.mark.parametrize(("mu", "sigma"), [(1.0, 0.0), (0.0, 1.0), (2.0, 0.5)])
def test_moments_of_the_base_weights(mu: float, sigma: float) -> None:
    weights = draw_base_weights(4, 200_000, mu=mu, sigma=sigma)
    # The scale is uniform, mu with a half-width of sigma; the factor has unit variance.
    exact = torch.tensor((mu**2 + sigma**2 / 3) / 4)
    torch.testing.assert_close(weights.square().mean(), exact, rtol=0.02, atol=0)
