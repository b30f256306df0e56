"""Verdicts: what is called unreliable, and in which words."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from lvkam_pyro.evidence.importance import Importance
from lvkam_pyro.evidence.thermodynamic import ThermodynamicIntegration
from lvkam_pyro.evidence.verdict import Gate, Verdict
from lvkam_pyro.ladder.ladder import Ladder
from tests.tracing import models


def test_a_gate_fails_what_is_not_a_number() -> None:
    values = torch.tensor([0.1, 2.0, torch.nan])
    assert Gate.above("k", values, 0.7).failed.tolist() == [False, True, True]
    assert Gate.below("k", values, 0.7).failed.tolist() == [True, False, True]


def test_reasons_count_and_name_the_worst() -> None:
    gates = [
        Gate.above("Pareto k", torch.tensor([0.1, 1.0]), 0.7),
        Gate.below("an effective sample size", torch.tensor([50.0, 20.0]), 10.0),
    ]
    verdict = Verdict.of(gates, remedy="Use a ladder.")
    assert verdict.reasons == ("1 of 2 data have Pareto k above 0.7 (worst 1).",)
    assert verdict.unreliable.tolist() == [False, True]
    assert str(Verdict.of(gates[1:], remedy="Use a ladder.")) == "reliable"


def test_prior_particles_that_miss_the_posterior_are_called_unreliable() -> None:
    model = models.LinearGaussian(8, 30, scale=0.05)
    verdict = Importance(1000).estimate(model, model.sample(4)).verdict
    assert not verdict.reliable
    assert verdict.unreliable.all()
    assert any("4 of 4 data have Pareto k above 0.7" in reason for reason in verdict.reasons)
    assert "ThermodynamicIntegration" in verdict.remedy


def test_a_good_proposal_is_reliable() -> None:
    model = models.LinearGaussian(8, 30, scale=0.05)
    verdict = Importance(1000).estimate(model, model.sample(4), guide=model.posterior).verdict
    assert (verdict.reliable, verdict.reasons, verdict.remedy) == (True, (), "")


def two_narrow_modes(x: Tensor) -> None:
    """Two modes 40 standard deviations no_handlers in each of six directions."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(6), 1.0).to_event(1))
        modes = torch.stack([dist.Normal(c, 0.05).log_prob(z).sum(-1) for c in (-1.0, 1.0)])
        pyro.factor("modes", modes.logsumexp(0) + 0.0 * x)


def test_chains_that_do_not_mix_are_called_unreliable() -> None:
    ladder = Ladder(num_temperatures=3, num_chains=8, num_warmup=10, num_samples=10)
    verdict = ThermodynamicIntegration(ladder).estimate(two_narrow_modes, torch.zeros(2)).verdict
    assert not verdict.reliable
    assert any("R-hat above 1.05" in reason for reason in verdict.reasons)


def modes_of_some(x: Tensor) -> None:
    """The two modes at data of 1 alone; at those of 0 the latents are as the prior has them."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(6), 1.0).to_event(1))
        modes = torch.stack([dist.Normal(c, 0.05).log_prob(z).sum(-1) for c in (-1.0, 1.0)])
        pyro.factor("modes", modes.logsumexp(0) * x)


def test_a_run_that_fails_at_half_of_its_data_fails_at_all() -> None:
    ladder = Ladder(num_temperatures=3, num_chains=16, num_warmup=50, num_samples=100)
    estimator = ThermodynamicIntegration(ladder)
    few = estimator.estimate(modes_of_some, torch.tensor([1.0, 0.0, 0.0])).verdict
    assert few.unreliable.tolist() == [True, False, False]
    half = estimator.estimate(modes_of_some, torch.tensor([1.0, 0.0])).verdict
    assert half.unreliable.tolist() == [True, True]
    assert any("whose R-hat fails at 50 % of its data" in reason for reason in half.reasons)
