"""The state of a layer whose grid has moved finds its way into a layer that was just built."""

import copy
import io

import pytest
import torch
from torch import nn

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.chebyshev import ChebyshevBasis
from lvkam_pyro.kan.bases.fourier import FourierBasis
from lvkam_pyro.kan.bases.nonuniform import NonUniformBSplineBasis
from lvkam_pyro.kan.bases.radial import RBFBasis
from lvkam_pyro.kan.grids.grid import refine_grid
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN, layers_of
from tests.kan.grids.grids import moved

# Ends that float32 rounds.
DOMAIN = (-0.1, 0.7)
NETWORKS = {
    "layer": lambda: KANLayer(3, 4, basis=BSplineBasis(grid_size=6, domain=DOMAIN)),
    "network": lambda: KAN([3, 5, 4], basis=BSplineBasis(grid_size=6, domain=DOMAIN)),
    "double": lambda: KAN([3, 5, 4], basis=BSplineBasis(grid_size=6, domain=DOMAIN)).double(),
}
all_networks = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def saved(network: nn.Module) -> dict[str, torch.Tensor]:
    """Its state after a file."""
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_same(first: KAN | KANLayer, second: KAN | KANLayer) -> None:
    like = layers_of(first)[0].coefficients
    z = torch.linspace(-0.2, 0.8, 60).to(like).view(20, 3)
    assert torch.equal(first(z), second(z))
    for a, b in zip(layers_of(first), layers_of(second), strict=True):
        assert type(a.basis) is type(b.basis)
        assert a.domain == b.domain
        assert torch.equal(a.basis.breakpoints, b.basis.breakpoints)


@all_networks
def test_moved_grid_is_restored_bit_for_bit(make: type) -> None:
    network, other = moved(make()), make()
    other.load_state_dict(saved(network))
    assert_same(network, other)
    again = moved(make())
    again.load_state_dict(saved(network))
    assert_same(network, again)


@all_networks
def test_equal_cells_are_restored_over_a_moved_grid(make: type) -> None:
    network, other = make(), moved(make())
    other.load_state_dict(saved(network))
    assert_same(network, other)


@all_networks
def test_state_is_not_shared_and_training_changes_no_copy(make: type) -> None:
    network, other = moved(make()), make()
    state = network.state_dict()
    before = copy.deepcopy(state)
    other.load_state_dict(state)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            tensor.mul_(0.5)
    assert all(torch.equal(state[key], before[key]) for key in state)


def test_precision_and_place_of_the_layer_stay() -> None:
    network, other = moved(NETWORKS["network"]()), NETWORKS["double"]()
    other.load_state_dict(saved(network))
    for layer in other.layers:
        assert layer.coefficients.dtype == layer.basis.breakpoints.dtype == torch.float64
        assert layer.domain == DOMAIN


def test_another_domain_comes_with_its_breakpoints() -> None:
    layer = KANLayer(3, 2, basis=NonUniformBSplineBasis([-1.0, 0.5, 3.0]))
    other = KANLayer(3, 2, basis=BSplineBasis(grid_size=2))
    other.load_state_dict(saved(layer))
    assert other.domain == (-1.0, 3.0)


def test_another_number_of_cells_is_refused_by_torch() -> None:
    network = moved(NETWORKS["layer"]())
    refine_grid(network, 9)
    with pytest.raises(RuntimeError, match="size mismatch for coefficients"):
        NETWORKS["layer"]().load_state_dict(saved(network))


def test_other_families_and_partial_states_are_left_alone() -> None:
    layer = KANLayer(3, 2, basis=RBFBasis(6))
    basis = layer.basis
    layer.load_state_dict(saved(layer))
    assert layer.basis is basis
    grid = moved(NETWORKS["layer"]())
    basis = grid.basis
    grid.load_state_dict({"mask": torch.zeros(3, 4)}, strict=False)
    assert grid.basis is basis


@pytest.mark.parametrize(
    "basis",
    [
        BSplineBasis(domain=(-0.1, 0.7)),
        NonUniformBSplineBasis([-0.1, 0.2, 0.3, 0.4, 0.5, 0.7]),
        NonUniformBSplineBasis([[-0.1, 0.2, 0.3, 0.4, 0.5, 0.7], [-0.1, 0.0, 0.1, 0.4, 0.6, 0.7]]),
        RBFBasis(8, domain=(-0.1, 0.7)),
        ChebyshevBasis(8, domain=(-0.1, 0.7)),
        FourierBasis(8, domain=(-0.1, 0.7)),
    ],
    ids=lambda basis: type(basis).__name__,
)
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_domain_comes_with_the_state(basis: Basis, precision: torch.dtype) -> None:
    layer = KANLayer(2, 3, basis=basis).to(precision)
    fresh = BSplineBasis() if hasattr(basis, "grid_size") else type(basis)(8)
    other = KANLayer(2, 3, basis=fresh).to(precision)
    z = torch.linspace(-0.2, 0.8, 20, dtype=precision).view(10, 2)
    assert not torch.equal(other(z), layer(z))
    other.load_state_dict(saved(layer))
    assert torch.equal(other(z), layer(z))
    assert other.domain == layer.domain


def test_states_without_a_domain_are_of_the_domain_there_is() -> None:
    layer, other = (KANLayer(2, 3, basis=BSplineBasis(domain=(-1.0, 2.0))) for _ in range(2))
    old = {key: value for key, value in saved(layer).items() if not key.startswith("basis.")}
    other.load_state_dict(old)
    z = torch.rand(10, 2)
    assert torch.equal(other(z), layer(z))


def test_equally_many_functions_on_other_cells_are_refused() -> None:
    layer = KANLayer(2, 3, basis=BSplineBasis(grid_size=6, degree=2))
    other = KANLayer(2, 3, basis=BSplineBasis(grid_size=5, degree=3))
    with pytest.raises(RuntimeError, match=r"on 5 cells, got one of 6.*grid_size=6"):
        other.load_state_dict(saved(layer))


def test_basis_by_itself_keeps_values_and_breakpoints_together() -> None:
    first = NonUniformBSplineBasis([0.0, 0.2, 0.5, 1.0])
    second = NonUniformBSplineBasis([0.0, 0.3, 0.7, 1.0])
    second.load_state_dict(first.state_dict())
    z = torch.linspace(0, 1, 20)
    assert torch.equal(first(z), second(z))
