"""Radial functions and their bandwidths."""

import copy

import numpy as np
import pytest
import torch

from lvkam_pyro.kan.bases.fourier import FourierBasis
from lvkam_pyro.kan.bases.radial import Bandwidth, RadialBasis, RBFBasis, RSWAFBasis
from lvkam_pyro.kan.bases.wavelet import MorletBasis
from lvkam_pyro.kan.layer import KANLayer
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


all_with_bandwidth = pytest.mark.parametrize(
    "make", [RBFBasis, RSWAFBasis, MorletBasis, FourierBasis]
)


@all_with_bandwidth
def test_gradient_of_the_bandwidth(make: type[RadialBasis]) -> None:
    basis = make(5, bandwidth=0.8, trainable_bandwidth=True).double()
    z = torch.linspace(0.05, 0.9, 7, dtype=torch.float64)
    step = 1e-6
    (parameter,) = basis.parameters()
    weights = torch.randn(7, 5, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * basis(z)).sum(), parameter)
    tau = parameter.exp().item()
    wider, narrower = (make(5, bandwidth=tau * (1 + s)) for s in (step, -step))
    # The parameter is the logarithm: its steps are relative ones of the bandwidth.
    difference = (weights * (wider(z) - narrower(z))).sum() / (2 * step)
    torch.testing.assert_close(gradient, difference, rtol=1e-8, atol=1e-8)


@all_with_bandwidth
def test_learned_bandwidth_gives_the_functions_of_a_fixed_one(make: type[RadialBasis]) -> None:
    z = torch.rand(20)
    learned = make(5, bandwidth=0.5, trainable_bandwidth=True)
    torch.testing.assert_close(learned(z), make(5, bandwidth=0.5)(z))
    learned.double()
    assert learned.slopes_at_ends(torch.float32).dtype == torch.float32
    # A scalar point too: only beside another scalar would a parameter decide.
    assert {learned(z).dtype, learned(z[0]).dtype} == {torch.float32}


@all_with_bandwidth
def test_every_layer_learns_its_own(make: type[RadialBasis]) -> None:
    basis = make(5, trainable_bandwidth=True)
    layers = [KANLayer(2, 3, basis=basis) for _ in range(2)]
    optimiser = torch.optim.SGD(layers[0].parameters(), lr=1.0)
    layers[0](torch.rand(10, 2)).square().sum().backward()
    optimiser.step()
    (moved,), (kept,) = ([*layer.basis.parameters()] for layer in layers)
    assert moved != kept == 0


@all_with_bandwidth
def test_state_holds_a_learned_bandwidth_only(make: type[RadialBasis]) -> None:
    assert not any("bandwidth" in key for key in make(5, bandwidth=0.5).state_dict())
    source = make(5, bandwidth=0.5, trainable_bandwidth=True)
    target = make(5, trainable_bandwidth=True)
    target.load_state_dict(copy.deepcopy(source.state_dict()))
    z = torch.rand(8)
    assert torch.equal(target(z), source(z))


@pytest.mark.parametrize("logarithm", [-30.0, 0.0, 30.0])
def test_stays_positive_and_finite(logarithm: float) -> None:
    bandwidth = Bandwidth(1.0, trainable=True)
    with torch.no_grad():
        bandwidth.logarithm.fill_(logarithm)
    assert 0 < bandwidth(torch.float32) < torch.inf


def test_fixed_bandwidth_is_exact_in_float64() -> None:
    z = torch.tensor(0.37, dtype=torch.float64)
    exact = torch.exp(-0.5 * (0.37 - 0.5) ** 2 / torch.tensor(0.7, dtype=torch.float64) ** 2)
    torch.testing.assert_close(RBFBasis(1, bandwidth=0.7)(z)[0], exact, rtol=0, atol=1e-16)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_what_is_not_positive_and_finite(value: float) -> None:
    with pytest.raises(ValueError, match=f"positive and finite, got {value}"):
        Bandwidth(value)
