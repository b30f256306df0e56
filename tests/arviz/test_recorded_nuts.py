"""RecordedNUTS: the same draws as Pyro's, with a true record."""

import arviz as az
import numpy as np
import pyro
import pytest
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

import lvkam_pyro as lv
from tests.arviz.test_convert import values
from tests.checks import samplers

X = torch.tensor([0.3, -1.2, 0.8, 2.0, 0.1])
NUM_DRAWS = 60


def run(kernel: NUTS, num_chains: int = 1) -> MCMC:
    pyro.set_rng_seed(3)
    mcmc = MCMC(kernel, NUM_DRAWS, 30, num_chains=1, disable_progbar=True)
    if num_chains > 1:
        # One after the other, on machines of any number of processors.
        mcmc.num_chains = mcmc.sampler.num_chains = num_chains
        mcmc._diagnostics = [None] * num_chains
    mcmc.run(X)
    return mcmc


@pytest.fixture(scope="module")
def mcmc() -> MCMC:
    return run(lv.arviz.RecordedNUTS(samplers.normal_mean, max_tree_depth=3), num_chains=2)


def test_draws_are_those_of_pyro() -> None:
    plain, recorded = (
        run(kind(samplers.normal_mean)).get_samples()["mean"]
        for kind in (NUTS, lv.arviz.RecordedNUTS)
    )
    assert torch.equal(plain, recorded)


def statistic(mcmc: MCMC, name: str) -> Tensor:
    return values(lv.to_arviz(mcmc), "sample_stats", name)


def test_energy_is_the_hamiltonian(mcmc: MCMC) -> None:
    kinetic = statistic(mcmc, "energy")[:, 1:] + statistic(mcmc, "lp")[:, :-1]
    # The trajectory starts where the last one ended: what is left is a momentum's chi-square / 2.
    assert float(kinetic.min()) > -1e-5
    error = 0.5**0.5 / kinetic.numel() ** 0.5
    assert abs(float(kinetic.mean()) - 0.5) < 5 * error


def test_steps_fit_the_depth(mcmc: MCMC) -> None:
    depth, num_steps = statistic(mcmc, "tree_depth"), statistic(mcmc, "n_steps")
    assert float(depth.min()) >= 1
    assert float(depth.max()) <= 3
    assert bool((num_steps <= 2**depth - 1).all())
    assert bool((num_steps >= 2 ** (depth - 1)).all())
    reached = statistic(mcmc, "reached_max_treedepth").bool()
    assert torch.equal(reached, depth >= 3)


def test_acceptance_has_the_mean_that_pyro_keeps(mcmc: MCMC) -> None:
    acceptance = statistic(mcmc, "acceptance_rate")
    assert float(acceptance.min()) >= -1e-9
    assert float(acceptance.max()) <= 1 + 1e-9
    recorded = lv.arviz.RecordedNUTS(samplers.normal_mean)
    pyro.set_rng_seed(3)
    recorded.setup(0, X)
    params = recorded.initial_params
    for _ in range(10):
        params = recorded.sample(params)
    kept = recorded.diagnostics()["sample_stats"]["acceptance_rate"]
    assert float(kept.mean()) == pytest.approx(recorded._mean_accept_prob)


def test_step_size_is_fixed_after_warm_up(mcmc: MCMC) -> None:
    step_size = statistic(mcmc, "step_size")
    assert bool((step_size == step_size[:, :1]).all())
    assert float(step_size.min()) > 0


def test_arviz_reads_the_energy(mcmc: MCMC) -> None:
    bfmi = az.bfmi(lv.to_arviz(mcmc))
    found = np.asarray(bfmi["energy"] if hasattr(bfmi, "data_vars") else bfmi)
    assert found.shape == (2,)
    assert (found > 0.3).all()
