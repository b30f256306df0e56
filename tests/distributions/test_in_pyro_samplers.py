"""Pyro's samplers on the densities: chains, importance, particle filters, effect handlers."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import HMC, MCMC, NUTS, EmpiricalMarginal, Importance, Predictive, SMCFilter
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel
from torch import Tensor

from lvkam_pyro.distributions.energy import EnergyDistribution
from tests.assertions import assert_within_standard_errors
from tests.distributions.pyro_models import (
    NOISE,
    OBSERVED,
    OWN_SHAPES,
    density,
    exact_posterior,
    log_joint,
    model,
    parameters,
)

names = pytest.mark.parametrize("name", OWN_SHAPES)
NUM_REPLICAS = 32


def replicated(name: str, theta: Tensor) -> None:
    """The same posterior many times side by side, so that one chain is many."""
    with pyro.plate("replicas", NUM_REPLICAS, dim=-2):
        model(name, theta)


def assert_is_the_posterior(kernel: MCMCKernel, name: str, num_samples: int) -> None:
    theta = parameters(name).detach()
    mcmc = MCMC(kernel, num_samples=num_samples, warmup_steps=60, disable_progbar=True)
    mcmc.run(name, theta)
    z = mcmc.get_samples()["z"]
    _, mean, variance = exact_posterior(name, theta)
    for draws, exact in ((z, mean), ((z - mean).square(), variance)):
        # The replicas' own means show the error, whatever the correlation inside each chain.
        replicas = draws.mean(0)
        error = replicas.std(0) / NUM_REPLICAS**0.5
        assert_within_standard_errors(replicas.mean(0), exact, error)


# One of each support: the interval, the half-line, the real line.
@pytest.mark.parametrize("name", ["spline mixture", "wave on lognormal", "spline on normal"])
def test_hmc_finds_the_posterior(name: str) -> None:
    kernel = HMC(replicated, step_size=0.3, num_steps=4, adapt_mass_matrix=False)
    assert_is_the_posterior(kernel, name, num_samples=60)


@pytest.mark.slow
@names
def test_nuts_finds_the_posterior(name: str) -> None:
    assert_is_the_posterior(NUTS(replicated, max_tree_depth=5), name, num_samples=150)


@pytest.mark.parametrize("name", ["mixture", "wave on lognormal"])
def test_importance_estimates_the_evidence(name: str) -> None:
    theta = parameters(name).detach()
    posterior = Importance(model, num_samples=300).run(name, theta)
    exact, mean, _ = exact_posterior(name, theta)
    ratios = (torch.stack(posterior.log_weights).double() - exact.sum()).exp()
    error = ratios.std() / len(ratios) ** 0.5
    assert_within_standard_errors(ratios.mean(), torch.tensor(1.0), error)
    z = torch.stack([trace.nodes["z"]["value"] for trace in posterior.exec_traces])
    weights = (ratios / ratios.sum())[:, None]
    deviation = (weights.square() * (z - mean).square()).sum(0).sqrt()
    assert_within_standard_errors((weights * z).sum(0), mean, deviation)
    # Pyro's own marginal has the same mean.
    torch.testing.assert_close(EmpiricalMarginal(posterior, "z").mean, (weights * z).sum(0))


class Chain:
    """A state that stays near its last value on [0, 1], observed in noise."""

    def init(self, state: dict[str, Tensor], z0: Tensor) -> None:
        state["z"] = pyro.sample("z0", drift(z0))

    def step(self, state: dict[str, Tensor], x: Tensor) -> None:
        state["z"] = pyro.sample("z", drift(state["z"]))
        pyro.sample("x", dist.Normal(state["z"], NOISE), obs=x)


def drift(last: Tensor) -> EnergyDistribution:
    """A normal around the last state, cut at the ends."""
    breakpoints = torch.linspace(0, 1, 9, dtype=torch.float64)
    return EnergyDistribution(
        lambda z: -0.5 * ((z - last) / 0.2).square(),
        breakpoints=breakpoints,
        batch_shape=last.shape,
    )


class Bootstrap:
    """Proposes from the chain itself; a guide only reads the state."""

    def init(self, state: dict[str, Tensor], z0: Tensor) -> None:
        pyro.sample("z0", drift(z0))

    def step(self, state: dict[str, Tensor], x: Tensor) -> None:
        pyro.sample("z", drift(state["z"]))


def test_particle_filter_follows_a_chain() -> None:
    start = torch.tensor(0.3, dtype=torch.float64)
    means = []
    for _ in range(12):
        smc = SMCFilter(Chain(), Bootstrap(), num_particles=400, max_plate_nesting=0)
        smc.init(z0=start.expand(400))
        for x in OBSERVED:
            smc.step(x)
        weights = smc.state._log_weights.softmax(0)
        means.append((weights * smc.state["z"]).sum())
    estimates = torch.stack(means)
    error = estimates.std() / len(means) ** 0.5
    # The bias of a ratio of means is of the order of its variance.
    assert_within_standard_errors(
        estimates.mean(), exact_filter(start), error, extra=estimates.var()
    )


def exact_filter(start: Tensor) -> Tensor:
    """The filtering mean after the last datum, by the forward recursion on a grid."""
    z = torch.linspace(0, 1, 401, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    width = torch.full_like(z, 1 / 400)
    width[[0, -1]] /= 2
    transition = drift(z).log_prob(z[:, None]).exp()
    belief = drift(start).log_prob(z).exp() * width
    for x in OBSERVED:
        belief = (transition @ belief) * width * dist.Normal(z, NOISE).log_prob(x).exp()
    return (belief * z).sum() / belief.sum()


@names
def test_handlers(name: str) -> None:
    theta = parameters(name).detach()
    z = density(name, theta).sample((len(OBSERVED),))
    conditioned = pyro.poutine.condition(model, {"z": z})
    trace = pyro.poutine.trace(conditioned).get_trace(name, theta)
    log_prob = log_joint(name, theta, z)
    torch.testing.assert_close(trace.log_prob_sum(), log_prob.sum())
    replayed = pyro.poutine.replay(model, pyro.poutine.trace(model).get_trace(name, theta))
    torch.testing.assert_close(replayed(name, theta), replayed(name, theta))
    cut = pyro.poutine.trace(pyro.poutine.do(model, {"z": z})).get_trace(name, theta)
    expected = dist.Normal(z, NOISE).log_prob(OBSERVED).sum()
    torch.testing.assert_close(cut.log_prob_sum(lambda site, _: site == "x"), expected)
    scaled = pyro.poutine.trace(pyro.poutine.scale(conditioned, 2.0)).get_trace(name, theta)
    torch.testing.assert_close(scaled.log_prob_sum(), 2 * log_prob.sum())
    first = torch.tensor([True, False, False])
    masked = pyro.poutine.trace(pyro.poutine.mask(conditioned, first)).get_trace(name, theta)
    torch.testing.assert_close(masked.log_prob_sum(), log_prob[0])


@names
def test_predictive_draws_from_the_prior(name: str) -> None:
    theta = parameters(name).detach()
    prior = density(name, theta)
    for parallel in (False, True):
        z = Predictive(model, num_samples=200, parallel=parallel)(name, theta)["z"]
        error = (prior.variance / len(z)).sqrt()
        assert_within_standard_errors(z.mean(0), prior.mean, error)
