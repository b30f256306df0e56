"""Annealed importance sampling, tempered SMC and the sandwich, against exact evidences."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from lvkam_pyro.evidence.annealed import AnnealedImportance, TemperedSMC
from lvkam_pyro.evidence.annealing import AnnealingEstimator
from lvkam_pyro.evidence.bidirectional import sandwich
from tests.assertions import assert_within_standard_errors
from tests.tracing import models

QUICK: dict[str, AnnealingEstimator] = {
    "annealed": AnnealedImportance(2048, num_temperatures=60),
    "smc": TemperedSMC(1024, num_moves=3),
}
WIDER = 1.6
"""Student's tail of 16 islands over the normal one, at the suite's rate."""


@pytest.mark.parametrize("name", QUICK)
def test_linear_gaussian(name: str) -> None:
    model = models.LinearGaussian(3, 4, scale=0.3)
    x = model.sample(8)
    evidence = QUICK[name].estimate(model, x, seed=1)
    assert evidence.verdict.reliable, str(evidence)
    error = WIDER * evidence.standard_error
    assert_within_standard_errors(evidence.log_evidence, model.exact(x), error)
    total = torch.tensor(evidence.total).double()
    error = torch.tensor(WIDER * evidence.total_standard_error).double()
    assert_within_standard_errors(total, model.exact(x).sum(), error)


def test_smc_needs_fewer_temperatures_for_an_easy_datum() -> None:
    x = torch.tensor([0.0, 8.0])
    evidence = QUICK["smc"].estimate(models.with_factor, x)
    few, many = evidence.diagnostics["num_temperatures"]
    assert few < many
    error = WIDER * evidence.standard_error
    exact = models.normal_evidence(x, 2.0).double()
    assert_within_standard_errors(evidence.log_evidence, exact, error)


@pytest.mark.parametrize("name", QUICK)
def test_impossible_particles_and_data(name: str) -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.factor("window", torch.where(z > x, 0.0, -torch.inf))

    evidence = QUICK[name].estimate(model, torch.tensor([0.0, 1e6]))
    exact = torch.tensor(0.5).double().log()
    error = WIDER * evidence.standard_error[0]
    assert_within_standard_errors(evidence.log_evidence[0], exact, error)
    assert evidence.log_evidence[1] == -torch.inf
    assert evidence.verdict.unreliable[1]
    assert not any(v.isnan().any() for k, v in evidence.diagnostics.items() if k != "island_spread")


def test_too_few_temperatures_are_flagged() -> None:
    model = models.LinearGaussian(6, 8, scale=0.05)
    poor = AnnealedImportance(64, num_temperatures=3).estimate(model, model.sample(3))
    assert poor.verdict.unreliable.all()


def test_blocks_do_not_change_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.LinearGaussian(2, 4)
    x = model.sample(5)
    monkeypatch.setattr("lvkam_pyro.tracing.program._MAX_VALUES", 1000)
    evidence = QUICK["smc"].estimate(model, x)
    error = WIDER * evidence.standard_error
    assert_within_standard_errors(evidence.log_evidence, model.exact(x), error)


class Simulator(models.LinearGaussian):
    """The same, returning what it observes."""

    def __call__(self, x: Tensor) -> Tensor:
        prior = dist.Normal(torch.zeros(self.weight.shape[1]), 1.0).to_event(1)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            loc = z @ self.weight.T
            return pyro.sample("x", dist.Normal(loc, self.scale).to_event(1), obs=x)


def test_the_sandwich_holds_the_evidence() -> None:
    model = Simulator(2, 3)
    few = AnnealedImportance(32, num_temperatures=6)
    bounds = sandwich(model, torch.zeros(200, 3), annealing=few)
    exact = model.exact(bounds.x)
    assert float((bounds.lower - exact).mean()) < 0 < float((bounds.upper - exact).mean())
    assert bounds.gap > 4 * bounds.gap_standard_error
    assert "200 simulated data" in str(bounds)
    many = AnnealedImportance(64, num_temperatures=40)
    assert sandwich(model, torch.zeros(200, 3), annealing=many).gap < bounds.gap / 4


def two_sites(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        pyro.sample("y", dist.Normal(z, 1.0), obs=x)


def test_the_sandwich_needs_one_observed_site() -> None:
    with pytest.raises(ValueError, match=r"of shape \(2,\), at one site"):
        sandwich(two_sites, torch.zeros(2))


WRONG = [
    (ValueError, lambda: TemperedSMC(0), "num_particles >= 1"),
    (ValueError, lambda: TemperedSMC(num_replicates=4), "num_replicates >= 8"),
    (ValueError, lambda: TemperedSMC(efficiency=1.0), "efficiency between 0 and 1, but got 1.0"),
    (ValueError, lambda: AnnealedImportance(num_temperatures=1), "num_temperatures >= 2"),
    (TypeError, lambda: AnnealedImportance(num_moves=0.5), "num_moves to be an integer"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "call", "match"), WRONG)
def test_wrong_input(error: type[Exception], call: Callable[[], object], match: str) -> None:
    with pytest.raises(error, match=match):
        call()
