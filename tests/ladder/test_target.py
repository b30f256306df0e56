"""Unconstrained latents as a target: Jacobians, prior draws."""

import pyro
import pyro.distributions as dist
import torch
from scipy.stats import kstest
from torch import Tensor
from torch.nn.functional import logsigmoid

from lvkam_pyro.ladder.target import GradientTarget
from lvkam_pyro.tracing.bind import bind
from tests.assertions import assert_p_value
from tests.tracing import models


def target_of(model: object, x: Tensor) -> GradientTarget:
    return GradientTarget(bind(model, x))


def test_constraints_have_their_jacobian() -> None:
    x = torch.tensor([0.2, -0.4])
    target = target_of(models.with_bounds, x)
    position = torch.randn(3, 2, 2)
    latents = target.constrain(position)
    values = {name: value.double() for name, value in latents.items()}
    log_prior = dist.LogNormal(0.0, 0.5).log_prob(values["scale"]) - (2 * values["scale"]).log()
    u = position[..., 1].double()
    width = (2 * values["scale"]).log()
    jacobian = position[..., 0].double() + width + logsigmoid(u) + logsigmoid(-u)
    torch.testing.assert_close(
        target.evaluate(position).log_prior, log_prior + jacobian, atol=1e-4, rtol=1e-4
    )


def test_prior_draws_come_back_through_the_constraints() -> None:
    target = target_of(models.with_bounds, torch.zeros(5))
    draws = target.draw_prior(4000)
    latents = target.constrain(draws)
    ratio = (latents["u"] / latents["scale"] + 1) / 2
    assert_p_value(kstest(ratio.flatten().numpy(), "uniform").pvalue)
    assert_p_value(kstest(latents["scale"].log().flatten().numpy() / 0.5, "norm").pvalue)


def test_runs_of_a_data_set_are_sized_by_what_they_make_not_by_what_they_share() -> None:
    design, y = torch.randn(4000, 50), torch.zeros(4000)

    def regression(x: Tensor, y: Tensor) -> None:
        weights = pyro.sample("w", dist.Normal(torch.zeros(50), 1.0).to_event(1))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal((weights @ x.T), 1.0), obs=y)

    program = bind(regression, design, y)
    assert program.values_per_unit > design.numel()
    assert program.particles_per_run() > 2**23 // design.numel() * 5
    longer = program.on(design.repeat(8, 1), y.repeat(8))
    assert longer.particles_per_run() <= program.particles_per_run() // 7
