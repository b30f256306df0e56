"""Training goes on after a change of the grid, under any of torch's optimisers."""

import copy
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer

from lvkam_pyro.kan.grids.grid import GridUpdate, refine_grid, update_grid
from lvkam_pyro.kan.network import KAN
from tests.kan.grids.grids import make, make_network, moved, samples

OPTIMIZERS: dict[str, Callable[[Iterator[Tensor]], Optimizer]] = {
    "Adam": lambda p: Adam(p, lr=0.02),
    "Adam, fused": lambda p: Adam(p, lr=0.02, fused=True),
    "Adam, foreach": lambda p: Adam(p, lr=0.02, foreach=True),
    "Adam, amsgrad": lambda p: Adam(p, lr=0.02, amsgrad=True),
    "AdamW": lambda p: AdamW(p, lr=0.02),
    "SGD with momentum": lambda p: SGD(p, lr=0.05, momentum=0.9),
    "SGD, fused": lambda p: SGD(p, lr=0.05, momentum=0.9, fused=True),
    "LBFGS": lambda p: LBFGS(p, lr=0.5, max_iter=5),
}
all_optimizers = pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS)
CHANGES = {
    "moved": lambda network, z, optimizer: update_grid(
        network, z, ratio=0.5, tolerance=math.inf, optimizer=optimizer
    ),
    "refined": lambda network, z, optimizer: refine_grid(network, 12, optimizer=optimizer),
}
all_changes = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


def train(network: KAN, optimizer: Optimizer, num_steps: int) -> float:
    z = torch.linspace(-1, 2, 200, dtype=torch.float64)[:, None].expand(-1, 3)
    target = torch.stack([z[:, 0].sin(), z[:, 1].square(), z[:, 2].exp() / 3, z[:, 0]], -1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.mse_loss(network(z), target)
        loss.backward()
        return loss

    for _ in range(num_steps):
        optimizer.step(closure)
    return float(closure().detach())


@all_optimizers
@all_changes
def test_training_goes_on(
    build: Callable[[Iterator[Tensor]], Optimizer], change: Callable[..., GridUpdate]
) -> None:
    network = make_network()
    optimizer = build(network.parameters())
    train(network, optimizer, 10)
    change(network, samples(), optimizer)
    before = train(network, optimizer, 0)
    assert train(network, optimizer, 25) < 0.7 * before


@all_optimizers
@all_changes
def test_optimizer_is_as_a_new_one(
    build: Callable[[Iterator[Tensor]], Optimizer], change: Callable[..., GridUpdate]
) -> None:
    network = make_network()
    optimizer = build(network.parameters())
    train(network, optimizer, 3)
    change(network, samples(), optimizer)
    again = copy.deepcopy(network)
    train(network, optimizer, 3)
    train(again, build(again.parameters()), 3)
    assert all(map(torch.equal, network.parameters(), again.parameters()))


def test_fused_optimizer_updates_the_right_entries() -> None:
    # torch's fused kernels walk through parameter and gradient as if both were contiguous.
    results = []
    for fused in (False, True):
        torch.manual_seed(0)
        network = make_network()
        update_grid(network, samples(), ratio=0.5, tolerance=math.inf)
        refine_grid(network, 9)
        train(network, Adam(network.parameters(), lr=0.02, fused=fused), 5)
        results.append([p.detach() for p in network.parameters()])
    assert all(p.is_contiguous() for p in results[0])
    torch.testing.assert_close(*results)


def test_stale_gradient_and_state_are_dropped_only_for_what_moved() -> None:
    network, other = make(), torch.nn.Parameter(torch.ones(2))
    optimizer = Adam([{"params": [other], "lr": 0.5}, {"params": network.parameters(), "lr": 0.1}])
    (network(samples()).square().sum() + other.square().sum()).backward()
    optimizer.step()
    kept = network.coefficients
    moved(network, optimizer=optimizer)
    assert network.coefficients is kept
    assert kept.grad is None
    assert list(optimizer.state) == [other]
    refine_grid(network, 18, optimizer=optimizer)
    assert [group["params"] for group in optimizer.param_groups] == [
        [other],
        [network.coefficients],
    ]
    assert optimizer.param_groups[1]["lr"] == 0.1
    assert list(optimizer.state) == [other]


def test_lbfgs_starts_anew_whatever_it_trains_besides() -> None:
    network = make_network()
    # It keeps its history under the first of its parameters, which is not the one that moves.
    optimizer = LBFGS(list(network.parameters())[::-1], lr=0.5, max_iter=3)
    train(network, optimizer, 1)
    assert optimizer.state
    update_grid(network.layers[0], samples(), tolerance=math.inf, optimizer=optimizer)
    assert not optimizer.state


def test_frozen_layer_stays_frozen() -> None:
    layer = make().requires_grad_(False)
    optimizer = SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    moved(layer, optimizer=optimizer)
    refine_grid(layer, 18, optimizer=optimizer)
    assert not layer.coefficients.requires_grad
