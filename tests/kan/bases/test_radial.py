"""The profiles around centres, against their formulas."""

import numpy as np
import pytest
import torch

from lvkam_pyro.kan.bases.radial import RadialBasis, RBFBasis, RSWAFBasis
from lvkam_pyro.kan.bases.wavelet import MorletBasis
from tests.kan.formulas import assert_matches_formula

PROFILES = {
    "rbf": (RBFBasis, lambda u: np.exp(-(u**2) / 2)),
    "rswaf": (RSWAFBasis, lambda u: np.cosh(u) ** -2),
    "morlet": (MorletBasis, lambda u: np.cos(u * 1.5) * np.exp(-(u**2) / 2)),
}

all_profiles = pytest.mark.parametrize(("make", "profile"), PROFILES.values(), ids=PROFILES)


@all_profiles
@pytest.mark.parametrize("domain", [(0.0, 1.0), (-1.0, 1.0), (-2.25, 3.75)])
@pytest.mark.parametrize("num_functions", [1, 2, 5, 20])
@pytest.mark.parametrize("bandwidth", [0.5, 1.0, 1.7])
def test_matches_the_formula(
    make: type[RadialBasis],
    profile: np.ufunc,
    domain: tuple[float, float],
    num_functions: int,
    bandwidth: float,
) -> None:
    low, high = np.longdouble(domain[0]), np.longdouble(domain[1])
    single = num_functions == 1
    spacing = high - low if single else (high - low) / (num_functions - 1)
    first = (low + high) / 2 if single else low
    centres = first + spacing * np.arange(num_functions)

    def formula(z: np.ndarray) -> np.ndarray:
        return profile((z[:, None] - centres) / (spacing * np.longdouble(bandwidth)))

    basis = make(num_functions, bandwidth=bandwidth, domain=domain)
    assert_matches_formula(basis, formula)


@pytest.mark.parametrize(("make", "ripple"), [(RBFBasis, 1.1e-8), (RSWAFBasis, 4.1e-3)])
def test_functions_of_the_default_bandwidth_add_up_to_a_constant(
    make: type[RadialBasis], ripple: float
) -> None:
    basis = make(41, domain=(0.0, 40.0))
    # Poisson's sum: the ripple from top to bottom is 4 times the spectrum at one turn a spacing.
    total = basis(torch.linspace(15, 25, 501, dtype=torch.float64)).sum(-1)
    assert total.max() / total.min() - 1 <= ripple


@pytest.mark.parametrize("frequency", [1.0, 5.0])
def test_frequency_counts_in_units_of_the_wavelet(frequency: float) -> None:
    basis = MorletBasis(1, frequency=frequency, domain=(-0.5, 0.5))
    u = np.linspace(-0.5, 0.5, 21)
    exact = np.cos(frequency * u) * np.exp(-(u**2) / 2)
    np.testing.assert_allclose(basis(torch.from_numpy(u))[:, 0], exact, rtol=0, atol=1e-15)


def test_default_wavelets_fit_slow_functions_and_customary_ones_do_not() -> None:
    z = torch.linspace(0, 1, 200, dtype=torch.float64)
    target = (torch.sin(2 * torch.pi * z) + z**2).unsqueeze(-1)
    errors = []
    for frequency in (1.5, 5.0):
        values = MorletBasis(8, frequency=frequency)(z)
        residual = values @ torch.linalg.lstsq(values, target).solution - target
        errors.append(residual.norm() / target.norm())
    assert errors[0] < 0.1 < 0.9 < errors[1]


@pytest.mark.parametrize(
    ("arguments", "num_cells"),
    [({}, 7), ({"bandwidth": 0.5}, 14), ({"bandwidth": 2.0}, 7), ({"frequency": 4 * torch.pi}, 28)],
)
def test_rougher_functions_have_more_cells(arguments: dict[str, float], num_cells: int) -> None:
    assert len(MorletBasis(8, **arguments).breakpoints) == num_cells + 1


def test_repr_shows_the_arguments() -> None:
    text = repr(MorletBasis(4, bandwidth=0.5, trainable_bandwidth=True, domain=(-1, 1)))
    assert "num_functions=4, domain=(-1.0, 1.0), frequency=1.5" in text
    assert "Bandwidth(0.5, trainable=True)" in text
