"""Nested sampling: what only it finds, ties, supports, data sets, and what it says of failures."""

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import nbinom, norm
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.evidence.nested import NestedSampling
from tests.assertions import assert_within_standard_errors
from tests.tracing import models

WIDER = 1.6
"""Student's tail of 16 islands over the normal one, at the suite's rate."""


class Spike:
    """A flat likelihood but for a narrow peak, which holds 99 % of the evidence."""

    def __init__(self, scale: float, num_latents: int = 5, gain: float = 4.6) -> None:
        self.scale, self.num_latents, self.gain = scale, num_latents, gain

    def __call__(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.num_latents), 1.0).to_event(1))
            peak = dist.Normal(1.0, self.scale).log_prob(z).sum(-1)
            marginal = dist.Normal(0.0, math.hypot(1.0, self.scale)).log_prob(x.new_ones(()))
            spike = math.log(math.expm1(self.gain)) + peak - self.num_latents * marginal
            plateau = dist.Normal(0.0, 1.0).log_prob(x)
            pyro.factor("likelihood", plateau + torch.logaddexp(spike.new_zeros(()), spike))

    def exact(self, x: Tensor) -> Tensor:
        return self.gain + dist.Normal(0.0, 1.0).log_prob(x)


X = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)


def assert_exact(
    model: Callable[[Tensor], None], x: Tensor, exact: Tensor, *, num_live_points: int = 1024
) -> lv.evidence.Evidence:
    evidence = NestedSampling(num_live_points).estimate(model, x, seed=1)
    assert evidence.verdict.reliable, str(evidence)
    error = WIDER * evidence.standard_error.clamp(min=1e-12)
    assert_within_standard_errors(evidence.log_evidence, exact.double(), error, extra=2e-5)
    return evidence


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_spike_beside_a_plateau_is_found(dtype: torch.dtype) -> None:
    model, x = Spike(0.2), X.to(dtype)
    evidence = assert_exact(model, x, model.exact(x))
    assert (evidence.standard_error < 0.2).all()


def test_a_spike_that_few_points_see_is_flagged() -> None:
    evidence = NestedSampling(128, num_prior_draws=1024).estimate(Spike(0.1), X)
    assert evidence.verdict.unreliable.all()


def steps(x: Tensor) -> None:
    """A likelihood of plateaus alone."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
        pyro.factor("likelihood", x * z.abs().floor())


def test_plateaus_have_their_volumes() -> None:
    x = torch.tensor([1.0, -2.0])
    edges = torch.tensor([2 * norm.sf(k) for k in range(12)])
    mass = (edges[:-1] - edges[1:]).double()
    exact = (mass * (x[:, None] * torch.arange(11)).exp()).sum(-1).log()
    assert_exact(steps, x, exact)


def test_information_is_the_divergence_from_prior_to_posterior() -> None:
    x = torch.zeros(2).double()

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    evidence = assert_exact(model, x, dist.Normal(0.0, 1.25**0.5).log_prob(x))
    divergence = (0.2 - 1 - math.log(0.2)) / 2
    assert (evidence.diagnostics["information"] - divergence).abs().max() < 0.2


def test_data_that_have_ended_cost_no_more() -> None:
    x = torch.tensor([0.0, 8.0])
    exact = models.normal_evidence(x, 2.0)
    evidence = assert_exact(models.with_factor, x, exact)
    few, many = evidence.diagnostics["num_evaluations"]
    assert few < 0.8 * many


def test_a_data_set_with_a_constrained_latent_and_a_mask() -> None:
    counts, seen = torch.tensor([3.0, 1.0, 9.0, 4.0]), torch.tensor([True, True, False, True])

    def model(x: Tensor) -> None:
        rate = pyro.sample("rate", dist.Gamma(x.new_tensor(2.0), 0.5))
        with pyro.plate("data", len(x)), pyro.poutine.mask(mask=seen):
            pyro.sample("x", dist.Poisson(rate), obs=x)

    # One observation after the other is negative binomial, given those before it.
    total, shape, precision = 0.0, 2.0, 0.5
    for count in counts[seen].tolist():
        total += nbinom.logpmf(count, shape, precision / (1 + precision))
        shape, precision = shape + count, precision + 1
    evidence = assert_exact(model, counts, torch.tensor([total]))
    assert evidence.unit == "data set"


def test_blocks_do_not_change_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.LinearGaussian(2, 4)
    x = model.sample(5)
    monkeypatch.setattr("lvkam_pyro.tracing.program._MAX_VALUES", 300_000)
    assert_exact(model, x, model.exact(x))


def test_moves_that_do_not_forget_are_flagged() -> None:
    model = models.LinearGaussian(20, 20, scale=0.3)
    x = model.sample(2)
    evidence = NestedSampling(1024, num_moves=1).estimate(model, x)
    assert evidence.verdict.unreliable.all()
    assert "insertion ranks" in str(evidence.verdict)


def test_a_run_that_is_cut_short_is_flagged() -> None:
    evidence = NestedSampling(256, max_levels=3).estimate(Spike(0.2), X)
    assert evidence.verdict.unreliable.all()
    assert "max_levels" in str(evidence.verdict)


WRONG = [
    (ValueError, lambda: NestedSampling(0), "num_live_points >= 1"),
    (TypeError, lambda: NestedSampling(100.0), "num_live_points to be an integer"),
    (ValueError, lambda: NestedSampling(num_replicates=4), "num_replicates >= 8"),
    (ValueError, lambda: NestedSampling(num_moves=0), "num_moves >= 1"),
    (ValueError, lambda: NestedSampling(num_prior_draws=0), "num_prior_draws >= 1"),
    (ValueError, lambda: NestedSampling(remaining_share=1.0), "remaining_share between 0 and 1"),
    (ValueError, lambda: NestedSampling(max_levels=0), "max_levels >= 1"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "call", "match"), WRONG)
def test_wrong_input(error: type[Exception], call: Callable[[], object], match: str) -> None:
    with pytest.raises(error, match=match):
        call()


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.2, 0.1, 0.05])
def test_errors_at_spikes_are_calibrated(scale: float) -> None:
    model = Spike(scale)
    runs = [NestedSampling().estimate(model, X, seed=seed) for seed in range(8)]
    distance = torch.stack([run.log_evidence - model.exact(X) for run in runs])
    scores = distance / torch.stack([run.standard_error for run in runs])
    # 24 values, of which those of one run share no draws but the generator.
    assert 0.6 < float(scores.square().mean().sqrt()) < 1.5
    assert float(distance.square().mean().sqrt()) < {0.2: 0.1, 0.1: 0.12, 0.05: 0.3}[scale]
