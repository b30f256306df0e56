"""KAN layers in sequence."""

import pytest
import torch

from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.network import KAN, layer_inputs, layers_of, squash


def test_one_layer_is_the_layer() -> None:
    network = KAN([3, 2])
    z = torch.rand(5, 3)
    assert torch.equal(network(z), network.layers[0](z))


def test_hidden_values_stay_inside_the_grid() -> None:
    network = KAN([3, 4, 2], basis=BSplineBasis(domain=(-1.0, 3.0)), base_activation=None)
    with torch.no_grad():
        network.layers[0].coefficients.mul_(1e3)
    seen: list[torch.Tensor] = []
    network.layers[1].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    network(torch.rand(100, 3))
    assert seen[0].min() >= -1.0
    assert seen[0].max() <= 3.0


def test_layer_norm_standardises_hidden_values() -> None:
    network = KAN([3, 4, 5, 2], layer_norm=True)
    with torch.no_grad():
        for norm in network.norms:
            norm.weight.uniform_(0.5, 2.0)
            norm.bias.normal_()
    z = torch.rand(20, 3)
    values = network.layers[0](z)
    for norm, layer in zip(network.norms, network.layers[1:], strict=True):
        centred = values - values.mean(-1, keepdim=True)
        spread = (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt()
        values = layer(squash(norm.weight * centred / spread + norm.bias, layer.domain))
    torch.testing.assert_close(network(z), values)
    *_, (last, inputs) = layer_inputs(network, z)
    torch.testing.assert_close(last(inputs), values)


def test_layer_norm_takes_the_size_out_of_hidden_values() -> None:
    network = KAN([3, 4, 2], base_activation=None, layer_norm=True)
    z = torch.rand(20, 3)
    before = network(z)
    with torch.no_grad():
        network.layers[0].coefficients.mul_(50.0)
    # The small number beside the variance weighs the less the larger this is.
    torch.testing.assert_close(network(z), before, rtol=0, atol=0.02)
    assert not KAN([3, 4, 2]).norms


@pytest.mark.parametrize("domain", [(0.0, 1.0), (-2.0, 5.0)])
def test_squash_is_increasing_and_onto(domain: tuple[float, float]) -> None:
    values = squash(torch.linspace(-3, 3, 50), domain)
    assert (values.diff() > 0).all()
    torch.testing.assert_close(
        squash(torch.tensor([-40.0, 0.0, 40.0]), domain)[[0, 2]], torch.tensor(domain)
    )


def test_gradients() -> None:
    network = KAN([2, 3, 2], basis=BSplineBasis(grid_size=3)).double()
    z = torch.rand(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, z)
    assert torch.autograd.gradgradcheck(network, z)


def test_learns_a_product() -> None:
    network = KAN([2, 3, 1], basis=BSplineBasis(grid_size=6))
    z = torch.rand(256, 2)
    target = z.prod(-1, keepdim=True)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.03)
    for _ in range(200):
        optimiser.zero_grad()
        loss = (network(z) - target).square().mean()
        loss.backward()
        optimiser.step()
    assert loss < 0.01 * target.var()


@pytest.mark.parametrize(
    ("widths", "match"),
    [([], "at least two widths"), ([3], r"got \[3\]"), ([3, 0, 2], "out_features >= 1, but got 0")],
)
def test_refuses_wrong_widths(widths: list[int], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        KAN(widths)


def test_refuses_wrong_inputs() -> None:
    with pytest.raises(ValueError, match=r"\(\.\.\., 3\), got \(5, 2\)"):
        KAN([3, 2])(torch.rand(5, 2))


@pytest.mark.parametrize("widths", [[3, 2], [3, 4, 2], [3, 4, 5, 2]])
def test_walk_takes_the_forward_pass_layer_by_layer(widths: list[int]) -> None:
    network, z = KAN(widths), torch.rand(6, 3)
    *_, (last, inputs) = layer_inputs(network, z)
    assert torch.equal(last(inputs), network(z))
    assert (
        [layer for layer, _ in layer_inputs(network, z)]
        == layers_of(network)
        == list(network.layers)
    )


def test_walk_sees_what_was_done_to_the_layer_before() -> None:
    network, z = KAN([3, 4, 2]), torch.rand(6, 3)
    for layer, inputs in layer_inputs(network, z):
        if layer is network.layers[1]:
            # Functions that are 0 give tanh(0): the middle of the domain.
            assert torch.equal(inputs, torch.full((6, 4), 0.5))
        with torch.no_grad():
            layer.coefficients.zero_()
