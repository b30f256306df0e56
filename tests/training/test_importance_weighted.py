"""The importance-weighted bound: its gradient against integrals, and its variance."""

import math
from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import lvkam_pyro as lv
from tests.assertions import assert_within_standard_errors

SHIFT = 0.3


class Shifted(pyro.nn.PyroModule):
    """z ~ N(0, 1), x ~ N(z + shift, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(SHIFT, dtype=torch.float64))

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z + self.shift, 1.0), obs=x)


class Guide(pyro.nn.PyroModule):
    """The posterior of Shifted, moved by an offset and of another scale."""

    def __init__(self, offset: float = 0.0, scale: float = 0.5**0.5) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.tensor(offset, dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale), dtype=torch.float64))

    def forward(self, x: Tensor) -> None:
        loc = (x - SHIFT) / 2 + self.offset
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, self.log_scale.exp()))


X = 1.1
Loss = Callable[[object, object], Callable[[Tensor], Tensor]]


def exact_bound(shift: Tensor, offset: Tensor, log_scale: Tensor) -> Tensor:
    """The bound of two particles at X, by Gauss-Hermite quadrature over both."""
    nodes, masses = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(80))
    loc = (X - SHIFT) / 2 + offset
    z = loc + log_scale.exp() * nodes
    joint = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z + shift, 1.0).log_prob(
        torch.tensor(X)
    )
    log_weights = joint - dist.Normal(loc, log_scale.exp()).log_prob(z)
    pairs = torch.logaddexp(log_weights[:, None], log_weights) - math.log(2)
    return (masses[:, None] * masses * pairs).sum() / masses.sum() ** 2


def mean_gradients(loss: Loss, model: nn.Module, guide: nn.Module, num_replicates: int) -> Tensor:
    """Independent estimates of the gradient per datum, `(replicates, parameters)`."""
    x = torch.full((4000,), X, dtype=torch.float64)
    parameters = [*model.parameters(), *guide.parameters()]
    module = loss(model, guide)
    return torch.stack(
        [
            torch.stack(torch.autograd.grad(module(x), parameters)) / len(x)
            for _ in range(num_replicates)
        ]
    )


def test_value_and_gradients_are_those_of_the_exact_bound() -> None:
    model, guide = Shifted(), Guide(offset=0.6, scale=0.5)
    found = mean_gradients(lv.training.ImportanceWeightedBound(2), model, guide, 24)
    start = [SHIFT, 0.6, math.log(0.5)]
    points = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in start]
    exact = torch.stack(torch.autograd.grad(-exact_bound(*points), points))
    assert_within_standard_errors(found.mean(0), exact, found.std(0) / len(found) ** 0.5)


def test_value_is_minus_the_mean_log_of_the_mean_weight() -> None:
    model, guide = Shifted(), Guide(offset=0.6)
    x = torch.full((5,), X, dtype=torch.float64)
    pyro.set_rng_seed(1)
    objective = lv.training.ImportanceWeightedBound(4)
    loss = objective.loss(model, guide, x)
    pyro.set_rng_seed(1)
    with torch.no_grad():
        particles = lv.draw_particles(model, guide, x, num_particles=4)
    assert loss == pytest.approx(-float(particles.log_evidence.sum()))
    assert 1 < float(objective.effective_size) < 4


def test_gradient_of_the_guide_vanishes_at_the_posterior() -> None:
    guide = Guide()
    x = torch.linspace(-2, 2, 7, dtype=torch.float64)
    loss = lv.training.ImportanceWeightedBound(16)(Shifted(), guide)(x)
    gradients = torch.stack(torch.autograd.grad(loss, list(guide.parameters())))
    # Sums of a hundred terms of order one, each rounded.
    assert gradients.abs().max() < 1e-13


def test_gradient_of_the_guide_is_less_noisy_than_the_plain_one() -> None:
    model, guide = Shifted(), Guide(offset=0.3)
    noise = [
        mean_gradients(loss, model, guide, 12)[:, 1].std()
        for loss in (
            lv.training.ImportanceWeightedBound(64),
            lv.evidence.Importance(64, num_replicates=2),
        )
    ]
    # The plain gradient has 480 times the deviation here; twelve estimates know it to a fifth.
    assert noise[0] < noise[1] / 100


class Chain(pyro.nn.PyroModule):
    """Two latents in a row."""

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            b = pyro.sample("b", dist.Normal(a.sum(-1), 1.0))
            pyro.sample("x", dist.Normal(b, 0.5), obs=x)


class ChainGuide(pyro.nn.PyroModule):
    """A guide whose second draw depends on its first."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.tensor(0.2, dtype=torch.float64))
        self.second = nn.Parameter(torch.tensor(0.4, dtype=torch.float64))

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            a = pyro.sample(
                "a", dist.Normal(self.first * x[:, None].expand(-1, 2), 0.8).to_event(1)
            )
            pyro.sample("b", dist.Normal(self.second * (a.sum(-1) + x), 0.7))


def test_draws_that_depend_on_each_other_have_the_same_mean_gradient() -> None:
    model, guide = Chain(), ChainGuide()
    ours = mean_gradients(lv.training.ImportanceWeightedBound(3), model, guide, 24)
    plain = mean_gradients(lv.evidence.Importance(3, num_replicates=2), model, guide, 24)
    error = ((ours.var(0) + plain.var(0)) / 24).sqrt()
    assert_within_standard_errors(ours.mean(0), plain.mean(0), error)


def test_svi_takes_it_as_a_loss() -> None:
    model, guide = Shifted(), Guide(offset=1.0)
    svi = pyro.infer.SVI(
        model, guide, pyro.optim.Adam({"lr": 0.05}), loss=lv.training.ImportanceWeightedBound(8)
    )
    x = torch.full((50,), X, dtype=torch.float64)
    losses = [svi.step(x) for _ in range(100)]
    assert losses[-1] < losses[0]
    assert losses[-1] == pytest.approx(50 * math.log(2 * math.sqrt(math.pi)), rel=0.05)


class Discrete(pyro.nn.PyroModule):
    """Draws without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.tensor(0.0, dtype=torch.float64))

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            law = dist.Normal(self.offset, 1.0).expand([len(x)])
            law.has_rsample = False
            pyro.sample("z", law)


def test_draws_without_a_gradient_are_refused() -> None:
    with pytest.raises(ValueError, match="samples without rsample"):
        lv.training.ImportanceWeightedBound(4)(Shifted(), Discrete())(
            torch.zeros(3, dtype=torch.float64)
        )


def test_one_particle_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 particles, got num_particles = 1"):
        lv.training.ImportanceWeightedBound(1)
