"""Pruning: what matters little goes, what is kept is said, and the way back is exact."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.radial import RBFBasis
from lvkam_pyro.kan.grids.grid import update_grid
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN, layer_inputs, layers_of
from lvkam_pyro.kan.pruning import edge_importance, prune

NETWORKS = {
    "layer": lambda: KANLayer(3, 4),
    "splines only": lambda: KANLayer(3, 4, base_activation=None),
    "network": lambda: KAN([3, 5, 4]),
    "deep": lambda: KAN([3, 2, 5, 4], base_activation=torch.tanh),
}
all_networks = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def straight_lines(slopes: Tensor) -> KANLayer:
    """A layer of functions f_oi(z) = slope_io z + 1, exactly."""
    layer = KANLayer(*slopes.shape, basis=BSplineBasis(grid_size=4), base_activation=None).double()
    abscissae = (torch.arange(7, dtype=torch.float64) - 1) / 4
    with torch.no_grad():
        layer.coefficients.copy_(slopes[:, None] * abscissae[:, None] + 1)
    return layer


def samples(count: int = 200, inputs: int = 3) -> Tensor:
    return torch.rand(count, inputs)


def state(network: KAN | KANLayer) -> list[Tensor]:
    return [tensor.clone() for tensor in network.state_dict().values()]


def test_importance_of_straight_lines_is_their_share_of_the_deviation() -> None:
    slopes = torch.tensor([[3.0, 0.0], [4.0, -2.0]], dtype=torch.float64)
    z = torch.randn(1000, 2, dtype=torch.float64).clamp(-3, 3) / 6 + 0.5
    z = (z - z.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(z.T.cov())).T * 0.1 + 0.5
    [scores] = edge_importance(straight_lines(slopes), z)
    # Uncorrelated inputs of one variance: sd f = |slope| sd z, sd h = |(3, 4)| sd z = 5 sd z.
    expected = torch.tensor([[0.6, 0.0], [0.8, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(scores, expected, rtol=1e-6, atol=1e-6)


@all_networks
def test_importance_is_its_definition(make: type) -> None:
    network, z = make().double(), samples().double()
    layers = [(layer.unsummed(inputs), layer(inputs)) for layer, inputs in layer_inputs(network, z)]
    received = torch.ones(4, dtype=torch.float64)
    expected = []
    for functions, outputs in reversed(layers):
        expected.insert(0, received * functions.std(0) / outputs.std(0))
        received = expected[0].sum(1)
    for score, exact in zip(edge_importance(network, z), expected, strict=True):
        torch.testing.assert_close(score, exact.detach())


def test_hidden_value_that_nothing_reads_has_no_importance() -> None:
    network = KAN([3, 2, 1])
    network.layers[1].set_mask(torch.tensor([[1.0], [0.0]]))
    first, _ = edge_importance(network, samples())
    assert (first[:, 1] == 0).all()
    assert (first[:, 0] > 0).all()


@all_networks
def test_prunes_what_is_below_the_threshold_and_restores_bit_for_bit(make: type) -> None:
    network, z = make(), samples()
    before, scores = state(network), edge_importance(network, z)
    threshold = float(torch.cat([s.flatten() for s in scores]).quantile(0.4))
    pruning = prune(network, z, threshold=threshold)
    for layer, score, removed, rescued in zip(
        layers_of(network), scores, pruning.removed, pruning.rescued, strict=True
    ):
        below = score < threshold
        below[score.argmax(0)[list(rescued)], list(rescued)] = False
        assert torch.equal(removed, below)
        assert torch.equal(layer.mask, 1.0 * ~below)
    assert pruning.lost.max() > 0
    pruning.restore()
    assert all(map(torch.equal, before, state(network)))
    torch.testing.assert_close(network(z), make_equal(network, before)(z), rtol=0, atol=0)


def make_equal(network: KAN | KANLayer, tensors: list[Tensor]) -> KAN | KANLayer:
    network.load_state_dict(dict(zip(network.state_dict(), tensors, strict=True)))
    return network


def test_constants_are_moved_to_what_stays() -> None:
    layer = straight_lines(torch.tensor([[1.0, 2.0], [1e-3, 0.0], [0.0, 0.0]]).double())
    z = samples().double()
    before = layer(z)
    pruning = prune(layer, z)
    assert layer.mask.tolist() == [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    # 1e-3 z without its mean, against z: a millionth of the variance, times 12 var z = 1 +- 0.1.
    assert pruning.lost[0] == pytest.approx(1e-6, rel=0.5)
    torch.testing.assert_close(layer(z)[:, 1], before[:, 1])
    torch.testing.assert_close(layer(z).mean(0), before.mean(0))


def test_lost_is_the_mean_squared_change_over_the_variance() -> None:
    network, z = KAN([3, 4, 2]), samples()
    before = network(z)
    pruning = prune(network, z, threshold=0.3)
    expected = (network(z) - before).square().mean(0) / before.var(0, correction=0)
    torch.testing.assert_close(pruning.lost.float(), expected.detach())


@all_networks
def test_no_output_loses_all(make: type) -> None:
    network, z = make(), samples()
    best = [score.argmax(0) for score in edge_importance(network, z)]
    pruning = prune(network, z, threshold=1e9)
    for layer, kept, rescued in zip(layers_of(network), best, pruning.rescued, strict=True):
        assert layer.mask.sum(0).tolist() == [1.0] * layer.out_features
        assert layer.mask.argmax(0).tolist() == kept.tolist()
        assert rescued == tuple(range(layer.out_features))
    assert "keep their best one" in str(pruning)


def test_second_pruning_reports_only_what_is_new_and_leaves_a_dead_output_dead() -> None:
    layer, z = KANLayer(3, 2), samples()
    layer.set_mask(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]))
    pruning = prune(layer, z, threshold=1e9)
    assert int(pruning.removed[0].sum()) == 1
    assert pruning.rescued == ((0,),)
    assert layer.mask.sum(0).tolist() == [1.0, 0.0]
    assert pruning.lost[1] == 0


def test_other_bases_keep_their_coefficients() -> None:
    layer = KANLayer(3, 2, basis=RBFBasis(5))
    before = layer.coefficients.clone()
    pruning = prune(layer, samples(), threshold=1e9)
    assert layer.mask.sum() == 2
    assert torch.equal(layer.coefficients, before)
    assert pruning.lost.isfinite().all()


def test_cells_of_any_widths_take_constants() -> None:
    layer = straight_lines(torch.tensor([[1.0], [0.0]]).double())
    z = samples(inputs=2).double()
    update_grid(layer, z)
    before = layer(z)
    prune(layer, z)
    assert layer.mask.flatten().tolist() == [1.0, 0.0]
    torch.testing.assert_close(layer(z), before)


def test_functions_that_are_not_finite_are_never_removed_silently() -> None:
    layer = KANLayer(3, 1)
    with torch.no_grad():
        layer.coefficients[1] = math.nan
    prune(layer, samples(), threshold=1e9)
    assert layer.mask[1] == 1


def test_pruned_network_trains_on() -> None:
    network, z = KAN([3, 4, 1]), samples()
    pruning = prune(network, z, threshold=0.2)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    target = z.sum(-1, keepdim=True).sin()
    losses = []
    for _ in range(50):
        optimiser.zero_grad()
        loss = F.mse_loss(network(z), target)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    for layer, removed in zip(layers_of(network), pruning.removed, strict=True):
        assert (layer.coefficients.grad.transpose(1, 2)[removed] == 0).all()


def test_report_says_it_in_words() -> None:
    layer = straight_lines(torch.tensor([[1.0], [0.0], [1e-9]]).double())
    text = str(prune(layer, samples().double()))
    assert (
        text == "layer 0: 2 of 3 functions removed\nvariance lost: 0.00%, at most 0.00% (output 0)"
    )


def test_restoring_after_the_grid_changed_is_refused() -> None:
    layer = KANLayer(3, 2)
    pruning = prune(layer, samples(), threshold=1e9)
    layer.basis = BSplineBasis(grid_size=7)
    with pytest.raises(RuntimeError, match=r"grid_size=5.*grid_size=7.*before the grid is changed"):
        pruning.restore()


WRONG = {
    "negative": ((samples(), -0.1), "threshold of at least 0 and finite, got -0.1"),
    "NaN": ((samples(), math.nan), "threshold.*got nan"),
    "inputs": ((samples(inputs=2), 0.1), r"shape \(\.\.\., 3\).*got shape \(200, 2\)"),
    "one row": ((torch.rand(3), 0.1), r"one dimension before.*got shape \(3,\)"),
    "empty": ((torch.rand(0, 3), 0.1), r"at least one sample, got shape \(0, 3\)"),
    "missing": ((torch.full((7, 3), math.nan), 0.1), "got 7 rows of 7 with a NaN"),
}


@pytest.mark.parametrize(("arguments", "match"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_refused_and_nothing_changes(
    arguments: tuple[Tensor, float], match: str
) -> None:
    network = KAN([3, 2, 1])
    before = state(network)
    with pytest.raises(ValueError, match=match):
        prune(network, arguments[0], threshold=arguments[1])
    assert all(map(torch.equal, before, state(network)))
