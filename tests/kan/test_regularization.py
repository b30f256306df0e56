"""Roughness: zero for straight lines, quadratic, and the second derivative for fine grids."""

import torch

from lvkam_pyro.kan.bspline import BSplineBasis
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.regularization import roughness


def layer_of(function, grid_size: int) -> KANLayer:  # noqa: ANN001
    """A layer of one function given by its values at the coefficients' own abscissae."""
    layer = KANLayer(1, 1, basis=BSplineBasis(grid_size=grid_size), base_activation=None).double()
    abscissae = (torch.arange(grid_size + 3, dtype=torch.float64) - 1) / grid_size
    with torch.no_grad():
        layer.coefficients.copy_(function(abscissae).view(1, -1, 1))
    return layer


def test_zero_for_straight_lines_only() -> None:
    assert roughness(layer_of(lambda z: 3 - 2 * z, 8)) < 1e-28
    assert roughness(layer_of(torch.sin, 8)) > 1e-6


def test_becomes_the_integral_of_the_squared_second_derivative() -> None:
    grid_size = 400
    layer = layer_of(lambda z: torch.sin(4 * z), grid_size)
    integral = roughness(layer) * grid_size**3
    # The integral of (16 sin 4z)^2 over [0, 1].
    expected = 256 * (0.5 - torch.tensor(8.0, dtype=torch.float64).sin() / 16)
    torch.testing.assert_close(integral, expected, rtol=2e-2, atol=0)


def test_is_quadratic() -> None:
    layer = KANLayer(3, 4)
    before = roughness(layer)
    with torch.no_grad():
        layer.coefficients.mul_(3)
    torch.testing.assert_close(roughness(layer), 9 * before)
