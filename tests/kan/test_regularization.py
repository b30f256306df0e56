"""Roughness is a second derivative; magnitudes and their entropy are what they say."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.chebyshev import ChebyshevBasis
from lvkam_pyro.kan.bases.nonuniform import NonUniformBSplineBasis
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN, layer_inputs, layers_of
from lvkam_pyro.kan.regularization import edge_entropy, edge_l1, edge_magnitudes, roughness


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


def on(breakpoints: Tensor, degree: int, function: Callable[[Tensor], Tensor]) -> KANLayer:
    """A layer of splines near one function on given cells, for one input a row."""
    uniform = BSplineBasis(grid_size=breakpoints.shape[1] - 1, degree=degree)
    layer = KANLayer(len(breakpoints), 1, basis=uniform, base_activation=None).double()
    layer.basis = NonUniformBSplineBasis(breakpoints, degree=degree)
    nodes = breakpoints[:, :-1, None] + breakpoints.diff()[..., None] * torch.tensor(
        [0.2, 0.5, 0.8]
    )
    z = nodes.flatten(1).T
    values = layer.basis(z).transpose(0, 1)
    with torch.no_grad():
        layer.coefficients.copy_(torch.linalg.lstsq(values, function(z).T.unsqueeze(-1)).solution)
    return layer


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5])
def test_zero_for_straight_lines_on_any_cells(degree: int) -> None:
    breakpoints = torch.tensor([[0, 0.1, 0.15, 0.7, 1], [0, 0.6, 0.9, 0.95, 1]]).double()
    size = roughness(on(breakpoints, degree, torch.sin))
    assert roughness(on(breakpoints, degree, lambda z: 3 - 2 * z)) < 1e-20
    assert size > 1e-6


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_equal_cells_are_no_special_case(degree: int) -> None:
    basis = BSplineBasis(grid_size=7, degree=degree, domain=(-1.0, 3.0))
    layer = KANLayer(2, 3, basis=basis).double()
    expected = roughness(layer)
    layer.basis = NonUniformBSplineBasis(
        torch.linspace(-1, 3, 8, dtype=torch.float64), degree=degree
    )
    torch.testing.assert_close(roughness(layer), expected)


@pytest.mark.parametrize("degree", [2, 3])
def test_is_the_integral_of_the_squared_second_derivative_on_any_cells(degree: int) -> None:
    grid_size = 400
    breakpoints = torch.linspace(0, 1, grid_size + 1).double().square().unsqueeze(0)
    integral = roughness(on(breakpoints, degree, lambda z: torch.sin(4 * z))) * grid_size**3
    expected = 256 * (0.5 - torch.tensor(8.0, dtype=torch.float64).sin() / 16)
    torch.testing.assert_close(integral, expected, rtol=2e-2, atol=0)


def test_other_bases_are_judged_by_their_functions() -> None:
    layer = KANLayer(1, 1, basis=ChebyshevBasis(6), base_activation=None).double()
    with torch.no_grad():
        layer.coefficients.copy_(torch.tensor([3.0, -2.0, 0, 0, 0, 0]).view(1, -1, 1))
    assert roughness(layer) < 1e-28
    with torch.no_grad():
        layer.coefficients[0, 2] = 1.0
    # 2 u^2 - 1 at six points: four differences of 4 (2/5)^2.
    assert roughness(layer).item() == pytest.approx(4 * 0.64**2)


def test_is_quadratic() -> None:
    layer = KANLayer(3, 4)
    before = roughness(layer)
    with torch.no_grad():
        layer.coefficients.mul_(3)
    torch.testing.assert_close(roughness(layer), 9 * before)


NETWORKS = {"layer": lambda: KANLayer(3, 4), "network": lambda: KAN([3, 5, 4])}
all_networks = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
with_and_without = pytest.mark.parametrize(
    "samples", [None, torch.rand(20, 3)], ids=["", "samples"]
)


def scaled(network: KAN | KANLayer, factor: float) -> KAN | KANLayer:
    with torch.no_grad():
        layers_of(network)[-1].coefficients.mul_(factor)
    return network


def test_magnitudes_are_their_definitions() -> None:
    layer, z = KANLayer(3, 4), torch.rand(5, 7, 3)
    layer.set_mask(torch.rand(3, 4) < 0.6)
    torch.testing.assert_close(edge_magnitudes(layer, z), layer.unsummed(z).abs().mean((0, 1)))
    size = layer.coefficients[:, :-1].abs().mean(1) + layer.coefficients[:, -1].abs()
    torch.testing.assert_close(edge_magnitudes(layer), size * layer.mask)


def test_magnitudes_of_a_constant_agree() -> None:
    layer = layer_of(lambda z: 0 * z - 2.5, 4)
    assert edge_magnitudes(layer).item() == 2.5
    assert edge_magnitudes(layer, torch.rand(9, 1).double()).item() == pytest.approx(2.5)


def test_sums_over_layers_use_the_inputs_of_each() -> None:
    network, z = KAN([3, 5, 4]), torch.rand(20, 3)
    first, second = (edge_magnitudes(layer, inputs) for layer, inputs in layer_inputs(network, z))
    torch.testing.assert_close(edge_l1(network, z), first.sum() + second.sum())
    shares = [magnitudes / magnitudes.sum() for magnitudes in (first, second)]
    expected = torch.stack([-(p * p.log()).sum() for p in shares]).sum()
    torch.testing.assert_close(edge_entropy(network, z), expected)


@all_networks
@with_and_without
def test_l1_is_a_norm_and_entropy_has_no_scale(make: type, samples: Tensor | None) -> None:
    layer = layers_of(make())[-1]
    z = None if samples is None else torch.rand(20, layer.in_features)
    l1, entropy = edge_l1(layer, z), edge_entropy(layer, z)
    torch.testing.assert_close(edge_l1(scaled(layer, -3.0), z), 3 * l1)
    torch.testing.assert_close(edge_entropy(layer, z), entropy)
    assert 0 < entropy <= math.log(layer.mask.numel())


def test_entropy_of_equal_functions_is_the_logarithm_of_their_number() -> None:
    layer = KANLayer(3, 4)
    with torch.no_grad():
        layer.coefficients.fill_(0.3)
    torch.testing.assert_close(edge_entropy(layer), torch.tensor(12.0).log())
    layer.set_mask(torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1]]))
    torch.testing.assert_close(edge_entropy(layer), torch.tensor(5.0).log())


@all_networks
@with_and_without
def test_gradients_are_finite_where_functions_are_off(make: type, samples: Tensor | None) -> None:
    network = make()
    for layer in layers_of(network):
        layer.set_mask(torch.eye(*layer.mask.shape))
    (edge_l1(network, samples) + edge_entropy(network, samples)).backward()
    for layer in layers_of(network):
        assert layer.coefficients.grad.isfinite().all()
        off = layer.coefficients.grad.transpose(1, 2)[layer.mask == 0]
        assert (off == 0).all()
        assert (layer.coefficients.grad != 0).any()


@all_networks
def test_functions_that_are_all_zero_cost_nothing(make: type) -> None:
    network = make()
    for layer in layers_of(network):
        with torch.no_grad():
            layer.coefficients.zero_()
    assert edge_l1(network) == edge_entropy(network) == 0
    edge_entropy(network).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_gradient_checks() -> None:
    network, z = KAN([2, 3, 2]).double(), torch.rand(5, 2).double()

    def terms(*parameters: Tensor) -> tuple[Tensor, ...]:
        values = dict(zip(dict(network.named_parameters()), parameters, strict=True))
        return functional_call(Terms(network), {f"network.{k}": v for k, v in values.items()}, z)

    parameters = [p.detach().clone().requires_grad_() for p in network.parameters()]
    assert torch.autograd.gradcheck(terms, parameters)


class Terms(nn.Module):
    """All terms as a module's forward, for `functional_call`."""

    def __init__(self, network: KAN) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> tuple[Tensor, ...]:
        network = self.network
        with_samples = edge_l1(network, z), edge_entropy(network, z)
        return *with_samples, edge_l1(network), edge_entropy(network)


@pytest.mark.parametrize("function", [edge_l1, edge_entropy, edge_magnitudes])
@pytest.mark.parametrize(
    ("samples", "match"),
    [
        (torch.rand(5, 2), r"shape \(\.\.\., 3\).*got shape \(5, 2\)"),
        (torch.rand(0, 3), "at least one sample"),
        (torch.full((5, 3), math.nan), "5 rows of 5 with a NaN"),
    ],
)
def test_wrong_samples_are_refused(
    function: Callable[..., Tensor], samples: Tensor, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        function(KANLayer(3, 2), samples)
