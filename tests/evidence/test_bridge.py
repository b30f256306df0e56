"""Bridge sampling: exact evidences from exact draws, in every form, and draws that are refused."""

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.evidence.bridge import Bridge
from lvkam_pyro.evidence.proposals import (
    FittedProposal,
    MixtureProposal,
    NormalProposal,
    Proposal,
    WarpProposal,
)
from tests.assertions import assert_within_standard_errors
from tests.evidence.estimators import QUICK
from tests.tracing import models

WIDER = 1.5
"""Student's tail of 20 replicates over the normal one, at the suite's rate."""

PROPOSALS: dict[str, Proposal] = {
    "normal": NormalProposal(),
    "mixture": MixtureProposal(),
    "warp": WarpProposal(),
    "warped mixture": WarpProposal(MixtureProposal()),
}
X = torch.tensor([0.3, -1.2, 0.8, 2.0, 0.1])
COUNTS = torch.tensor([3.0, 1.0, 4.0, 1.0, 5.0])
Draws = dict[str, Tensor]


def assert_matches(evidence: lv.evidence.Evidence, exact: Tensor | float) -> None:
    """Within the errors that it reports, and single precision's."""
    values = torch.as_tensor(exact, dtype=torch.float64).reshape(-1)
    error = WIDER * evidence.standard_error
    assert_within_standard_errors(evidence.log_evidence, values, error, extra=2e-5)


def normal_mean(x: Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mean, 1.0), obs=x)


def normal_evidence(x: Tensor) -> float:
    covariance = torch.ones(len(x), len(x)) + torch.eye(len(x))
    return float(dist.MultivariateNormal(torch.zeros(len(x)), covariance).log_prob(x))


def normal_posterior(x: Tensor) -> dist.Normal:
    return dist.Normal(x.sum() / (len(x) + 1), (len(x) + 1) ** -0.5)


def poisson(x: Tensor) -> None:
    rate = pyro.sample("rate", dist.Gamma(2.0, 0.5))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Poisson(rate), obs=x)


def poisson_evidence(x: Tensor) -> float:
    shape = 2 + float(x.sum())
    scaled = math.lgamma(shape) - math.lgamma(2) + 2 * math.log(0.5)
    return scaled - shape * math.log(0.5 + len(x)) - float(torch.lgamma(x + 1).sum())


def shares(x: Tensor) -> None:
    theta = pyro.sample("theta", dist.Dirichlet(torch.ones(3)))
    pyro.sample("x", dist.Multinomial(12, theta), obs=x)


def eight_schools(y: Tensor, sigma: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    tau = pyro.sample("tau", dist.HalfCauchy(10.0))
    with pyro.plate("schools", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * z, sigma), obs=y)


Y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SIGMA = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def schools_draws(num_draws: int) -> Draws:
    """Exact draws: tau by its marginal on a grid, then mu and z, each normal given the rest."""
    noise, log_tau = SIGMA.double() ** 2, torch.linspace(-12, 8, 8001, dtype=torch.float64)
    precision = 1 / (noise + log_tau.exp()[:, None] ** 2)
    total = precision.sum(-1) + 0.01
    mean = (precision * Y).sum(-1) / total
    log_joint = dist.Normal(mean[:, None], precision.rsqrt()).log_prob(Y.double()).sum(-1)
    log_joint += dist.Normal(0.0, 10.0).log_prob(mean) - total.log() / 2
    log_joint += dist.HalfCauchy(10.0).log_prob(log_tau.exp()) + log_tau
    index = dist.Categorical(logits=log_joint).sample((num_draws,))
    tau, mu = log_tau[index].exp(), dist.Normal(mean[index], total[index].rsqrt()).sample()
    variance = 1 / (1 + tau[:, None] ** 2 / noise)
    loc = variance * tau[:, None] * (Y - mu[:, None]) / noise
    return {"mu": mu, "tau": tau, "z": dist.Normal(loc, variance.sqrt()).sample()}


CASES: dict[str, tuple[Callable[..., None], tuple[Tensor, ...], Callable[[int], Draws], float]] = {
    "normal": (
        normal_mean,
        (X,),
        lambda n: {"mean": normal_posterior(X).sample((n,))},
        normal_evidence(X),
    ),
    "gamma": (
        poisson,
        (COUNTS,),
        lambda n: {"rate": dist.Gamma(2 + COUNTS.sum(), 5.5).sample((n,))},
        poisson_evidence(COUNTS),
    ),
    "dirichlet": (  # All 91 counts of twelve are as probable.
        shares,
        (torch.tensor([2.0, 0.0, 10.0]),),
        lambda n: {"theta": dist.Dirichlet(torch.tensor([3.0, 1.0, 11.0])).sample((n,))},
        -math.log(91),
    ),
    "eight schools": (eight_schools, (Y, SIGMA), schools_draws, -31.7298),
}


@pytest.mark.parametrize("proposal", PROPOSALS)
@pytest.mark.parametrize("name", CASES)
def test_exact_evidence_from_exact_draws(name: str, proposal: str) -> None:
    model, args, sample, exact = CASES[name]
    bridge = Bridge(4000, proposal=PROPOSALS[proposal])
    evidence = bridge.estimate(model, *args, draws=sample(1000))
    assert evidence.verdict.reliable, str(evidence)
    assert evidence.unit == "data set"
    assert float(evidence.standard_error) < 0.05
    assert evidence.num_likelihood_evaluations == 5000 * (1 + proposal.startswith("warp"))
    assert_matches(evidence, exact)


def test_each_datum_has_its_own_bridge() -> None:
    model = models.LinearGaussian(2, 4)
    x = model.sample(7)
    with pyro.plate("draws", 800, dim=-2):
        trace = pyro.poutine.trace(model.posterior).get_trace(x)
    draws = {"z": trace.nodes["z"]["value"]}
    evidence = Bridge(2000, proposal=NormalProposal()).estimate(model, x, draws=draws)
    assert evidence.verdict.reliable, str(evidence)
    assert evidence.log_evidence.shape == (7,)
    assert_matches(evidence, model.exact(x))


def test_blocks_of_data_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.LinearGaussian(1, 2)
    x = model.sample(5)
    with pyro.plate("draws", 400, dim=-2):
        trace = pyro.poutine.trace(model.posterior).get_trace(x)
    draws = {"z": trace.nodes["z"]["value"]}
    monkeypatch.setattr("lvkam_pyro.tracing.program._MAX_VALUES", 4000)
    evidence = Bridge(2000, proposal=NormalProposal()).estimate(model, x, draws=draws)
    assert evidence.log_evidence.shape == (5,)
    assert_matches(evidence, model.exact(x))


def correlated(num_draws: int) -> Draws:
    """An autoregression whose law is the posterior of `normal_mean`; six draws are worth one."""
    posterior, share = normal_posterior(X), 0.7
    noise = (1 - share**2) ** 0.5 * torch.randn(num_draws)
    state = [torch.randn(())]
    for innovation in noise[1:]:
        state.append(share * state[-1] + innovation)
    return {"mean": posterior.mean + posterior.stddev * torch.stack(state)}


# Far fewer proposals than usual, so that the draws' part of the error counts.
@pytest.mark.parametrize("sample", [CASES["gamma"][2], correlated], ids=["independent", "chain"])
@pytest.mark.parametrize("proposal", ["normal", "warp"])
def test_the_error_is_calibrated(sample: Callable[[int], Draws], proposal: str) -> None:
    name = "normal" if sample is correlated else "gamma"
    model, args, _, exact = CASES[name]
    program, bridge = lv.bind(model, *args), Bridge(1000, proposal=PROPOSALS[proposal])
    runs = [bridge.estimate(program, draws=sample(2000), seed=seed) for seed in range(60)]
    scores = torch.tensor([(run.total - exact) / run.total_standard_error for run in runs])
    assert 0.8 < float(scores.square().mean().sqrt()) < 1.3


def two_modes(x: Tensor) -> None:
    """Far modes of equal mass: u or -u by the data, in four coordinates."""
    u = pyro.sample("u", dist.Normal(torch.zeros(4), 3.0).to_event(1))
    log_modes = [dist.Normal(sign * u, 0.03).log_prob(x).sum(-1) for sign in (1, -1)]
    pyro.factor("x", torch.stack(log_modes).logsumexp(0) - math.log(2))


def mode_draws(signs: Tensor, x: Tensor) -> Draws:
    precision = 1 / 9 + 1 / 0.03**2
    noise = torch.randn(*signs.shape, 4) / precision**0.5
    return {"u": signs[..., None] * x / 0.03**2 / precision + noise}


def test_two_modes_are_covered_by_a_mixture() -> None:
    x = torch.tensor([1.0, -2.0, 3.0, 2.0])
    exact = float(dist.Normal(0.0, (9 + 0.03**2) ** 0.5).log_prob(x).sum())
    draws = mode_draws(1 - 2 * torch.randint(2, (1000,)).float(), x)
    mixture, normal = (
        Bridge(4000, proposal=proposal).estimate(two_modes, x, draws=draws)
        for proposal in (None, NormalProposal())
    )
    for evidence in (mixture, normal):
        assert_matches(evidence, exact)
    assert mixture.verdict.reliable, str(mixture)
    assert mixture.total_standard_error < normal.total_standard_error / 4


class Elsewhere(Proposal):
    """A proposal ten standard deviations off."""

    def fit(self, position: Tensor) -> FittedProposal:
        return NormalProposal().fit(position + 10 * position.std(0))


def test_a_proposal_without_overlap_is_flagged() -> None:
    draws = {"mean": normal_posterior(X).sample((1000,))}
    evidence = Bridge(4000, proposal=Elsewhere()).estimate(normal_mean, X, draws=draws)
    assert "an overlap of posterior and proposal below 0.03" in str(evidence.verdict)


def test_chains_that_disagree_are_flagged() -> None:
    x = torch.tensor([1.0, -2.0, 3.0, 2.0])
    draws = mode_draws(torch.tensor([1.0, 1.0, -1.0])[:, None].expand(3, 500), x)
    evidence = Bridge(4000).estimate(two_modes, x, draws=draws)
    assert "R-hat above 1.05" in str(evidence.verdict)


def test_a_chain_that_drifts_is_flagged() -> None:
    drift = torch.linspace(-1, 1, 1000)
    evidence = Bridge(1000).estimate(
        normal_mean, X, draws={"mean": correlated(1000)["mean"] + drift}
    )
    assert "R-hat" in str(evidence.verdict)


def test_few_independent_draws_are_flagged() -> None:
    draws = {"mean": normal_posterior(X).sample((20,)).repeat_interleave(50)}
    evidence = Bridge(1000, proposal=NormalProposal()).estimate(normal_mean, X, draws=draws)
    assert "an effective number of draws below 50" in str(evidence.verdict)


def test_draws_that_are_impossible_are_flagged() -> None:
    def truncated(x: Tensor) -> None:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.factor("x", torch.where(z > x.sum(), 0.0, -torch.inf))

    evidence = Bridge(1000).estimate(truncated, torch.zeros(1), draws={"z": torch.randn(500)})
    assert "draws where the model's density is zero" in str(evidence.verdict)


def one_by_one(x: Tensor) -> None:
    mean = float(pyro.sample("mean", dist.Normal(0.0, 1.0)))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mean, 1.0), obs=x)


@pytest.mark.filterwarnings("ignore::lvkam_pyro.tracing.stacking.StackingWarning")
def test_a_program_that_takes_one_particle_at_a_time() -> None:
    draws = {"mean": normal_posterior(X).sample((4, 50))}
    evidence = Bridge(200, proposal=NormalProposal()).estimate(one_by_one, X, draws=draws)
    assert evidence.verdict.reliable, str(evidence)
    assert_matches(evidence, normal_evidence(X))


@pytest.fixture(scope="module")
def mcmc() -> MCMC:
    pyro.set_rng_seed(1)
    sampler = MCMC(NUTS(poisson), num_samples=300, warmup_steps=100, disable_progbar=True)
    sampler.run(COUNTS)
    return sampler


def test_draws_of_all_forms_are_the_same(mcmc: MCMC) -> None:
    by_chain = mcmc.get_samples(group_by_chain=True)
    forms: dict[str, Any] = {
        "sampler": mcmc,
        "chains": by_chain,
        "one chain": mcmc.get_samples(),
        "arrays": {name: value.double().numpy() for name, value in by_chain.items()},
        "with others": {**by_chain, "other": torch.zeros(3)},
        "arviz": lv.to_arviz(mcmc),
    }
    found = {
        name: Bridge(1000).estimate(poisson, COUNTS, draws=form) for name, form in forms.items()
    }
    assert_matches(found["sampler"], poisson_evidence(COUNTS))
    for name, evidence in found.items():
        assert evidence.total == found["sampler"].total, name


def test_seeds_and_generators(mcmc: MCMC) -> None:
    before = torch.get_rng_state()
    one, same, other = (
        Bridge(1000).estimate(poisson, COUNTS, draws=mcmc, seed=seed).total for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert one == same != other


def nested(x: Tensor) -> None:
    """Latents in two crossed plates, of which one axis has size one, and a program one by one."""
    scale = pyro.sample("scale", dist.LogNormal(0.0, 0.5))
    with pyro.plate("rows", x.shape[0], dim=-2):
        row = pyro.sample("row", dist.Normal(0.0, 1.0))
        with pyro.plate("columns", x.shape[1], dim=-1):
            pyro.sample("x", dist.Normal(row, scale), obs=x)


def test_axes_of_size_one_may_be_left_out_by_arviz() -> None:
    x = torch.randn(3, 4)
    sampler = MCMC(NUTS(nested), num_samples=200, warmup_steps=100, disable_progbar=True)
    sampler.run(x)
    assert sampler.get_samples()["row"].shape == (200, 3, 1)
    one, other = (
        Bridge(1000).estimate(nested, x, draws=draws).total
        for draws in (sampler, lv.to_arviz(sampler))
    )
    assert one == other


def test_in_a_comparison() -> None:
    bridge = Bridge(2000, proposal=NormalProposal(), ladder=QUICK)
    comparison = lv.compare_evidence(
        {"normal": normal_mean}, X, [bridge, lv.evidence.Importance(4096)], progress=False
    )
    assert [row.evidence.estimator for row in comparison] == ["Bridge", "Importance"]
    assert_matches(comparison["normal", "Bridge"], normal_evidence(X))


def discrete(x: Tensor) -> None:
    k = pyro.sample("k", dist.Poisson(2.0))
    pyro.sample("x", dist.Normal(k, 1.0), obs=x)


def masked(x: Tensor) -> None:
    with pyro.plate("data", len(x)), pyro.poutine.mask(mask=x > 0):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def without_latents(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)


def subsampled(x: Tensor) -> None:
    with pyro.plate("data", len(x), subsample_size=2) as index:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x[index])


GOOD = torch.rand(100) + 1
BAD: dict[str, tuple[Callable[[Tensor], None], object, type[Exception], str]] = {
    "a number": (poisson, 3.0, TypeError, "got float"),
    "not run": (poisson, MCMC(NUTS(poisson), 10), ValueError, "that was run"),
    "a missing site": (
        poisson,
        {"rates": GOOD},
        ValueError,
        r"\['rate'\] are missing among \['rates'",
    ),
    "another shape": (
        poisson,
        {"rate": torch.ones(100, 2, 3)},
        ValueError,
        r"'rate' of shape .*2, 3",
    ),
    "other numbers": (
        nested,
        {"scale": GOOD, "row": torch.zeros(90, 3, 1)},
        ValueError,
        r"'row': \(1, 90\)",
    ),
    "a NaN": (poisson, {"rate": GOOD.where(GOOD > 1.1, torch.nan)}, ValueError, "finite .*'rate'"),
    "outside": (poisson, {"rate": GOOD - 1.5}, ValueError, "'rate' inside of its support"),
    "on the edge": (poisson, {"rate": GOOD.where(GOOD > 1.1, 0.0)}, ValueError, "on its edge"),
    "no simplex": (shares, {"theta": GOOD[:, None].expand(-1, 3)}, ValueError, "'theta' inside"),
    "few": (poisson, {"rate": GOOD[:39]}, ValueError, "at least 40 draws .* got 39"),
    "discrete": (discrete, {"k": GOOD}, ValueError, "'k' is discrete"),
    "a mask": (masked, {"z": torch.zeros(100, 3)}, ValueError, "'z' has a mask"),
    "no latents": (without_latents, {}, ValueError, "no latent site"),
    "a subsample": (subsampled, {"z": torch.zeros(100, 2)}, ValueError, "'data' subsamples 2 of 3"),
}


@pytest.mark.parametrize("name", BAD)
def test_draws_that_do_not_fit_are_refused(name: str) -> None:
    model, draws, error, match = BAD[name]
    x = torch.randn(3, 4) if model is nested else torch.tensor([1.0, 2.0, 3.0])
    with pytest.raises(error, match=match):
        Bridge(1000).estimate(model, x, draws=draws)
