"""Slice moves leave the prior above a level as it is, and move those chains that shall."""

import pyro
import pyro.distributions as dist
import torch
from scipy.stats import kstest
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.ladder.slices import SliceTarget, SliceWalk
from tests.assertions import assert_p_value

RADIUS = 1.3


def bowl(x: Tensor) -> None:
    """High in the middle of a plane with a normal prior."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
        pyro.factor("likelihood", -z.square().sum(-1) + 0 * x)


def inside(num_points: int) -> Tensor:
    """Exact draws of the prior inside of a circle, `(S, 2, 2)`."""
    mass = -torch.expm1(torch.tensor(-(RADIUS**2) / 2)).double()
    radius = (-2 * torch.log1p(-mass * torch.rand(num_points, 2).double())).sqrt()
    angle = 2 * torch.pi * torch.rand_like(radius)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)


def walk(num_points: int, num_steps: int) -> SliceWalk:
    target = SliceTarget(lv.bind(bowl, torch.zeros(2).double()))
    start = target.points_at(inside(num_points))
    level = torch.full_like(start.log_prior, -(RADIUS**2))
    steps = torch.full_like(level, num_steps, dtype=torch.long)
    steps[: num_points // 2, 0] = 0
    factor = torch.tensor([[0.3, 0.0], [0.4, 1.0]]).double().expand(2, 2, 2)
    chains = SliceWalk(target, start, level, steps, factor)
    chains.run()
    moved = (chains.points.position != start.position).any(-1)
    assert torch.equal(moved, steps > 0)
    assert torch.equal(chains.num_tries > 0, steps > 0)
    again = target.points_at(chains.points.position)
    assert torch.equal(again.log_likelihood, chains.points.log_likelihood)
    return chains


def test_the_restricted_prior_is_invariant() -> None:
    position = walk(4000, 3).points.position[2000:]
    radius, angle = position.norm(dim=-1), torch.atan2(position[..., 1], position[..., 0])
    cdf = torch.expm1(-radius.square() / 2) / torch.expm1(torch.tensor(-(RADIUS**2) / 2))
    for values in (cdf, angle / (2 * torch.pi) + 0.5):
        for unit in values.T:
            assert_p_value(float(kstest(unit.numpy(), "uniform").pvalue))


def test_chains_that_have_made_their_steps_cost_no_more() -> None:
    chains = walk(400, 2)
    rows = chains.target.num_evaluations - 400  # of the start
    rows -= 400  # read again
    assert rows < int(chains.num_tries.sum(0).max()) + 400
