"""The bandwidth: positive, fixed or learned, one for each layer."""

import copy

import pytest
import torch

from lvkam_pyro.kan.bases.fourier import FourierBasis
from lvkam_pyro.kan.bases.radial import Bandwidth, RadialBasis, RBFBasis, RSWAFBasis
from lvkam_pyro.kan.bases.wavelet import MorletBasis
from lvkam_pyro.kan.layer import KANLayer

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
