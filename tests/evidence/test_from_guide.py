"""Ladders and populations that begin at a guide: right from any, better from a good one."""

import math
from collections.abc import Callable
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.ladder.reference import ReferenceTarget, target_from
from tests.assertions import assert_within_standard_errors

WIDER = 1.6
"""Student's tail of 16 replicates over the normal one, at the suite's rate."""

SCALES = torch.tensor([1.0, 0.1, 0.3])
X = torch.tensor([[0.5, -0.2, 1.0], [2.0, 0.3, -0.4], [-1.0, 1.5, 0.0], [0.0, 0.0, 3.0]])
EXACT = dist.Normal(0.0, (1 + SCALES**2).sqrt()).log_prob(X).sum(-1).double()

LADDER = lv.ladder.Ladder(
    num_temperatures=6,
    num_chains=16,
    num_warmup=30,
    num_samples=30,
    schedule=lv.ladder.PowerSchedule(1.0),
)
CROWDED = replace(LADDER, num_temperatures=8, schedule=lv.ladder.PowerSchedule(2.5))
"""The few draws of the prior among the guide's make the curve steep at its beginning."""
ESTIMATORS: dict[str, Callable[[], lv.evidence.Estimator]] = {
    "smc": lambda: lv.evidence.TemperedSMC(512, num_moves=3),
    "annealed": lambda: lv.evidence.AnnealedImportance(512, num_temperatures=32),
    "multistate": lambda: lv.evidence.MultistateBAR(LADDER),
    "thermodynamic": lambda: lv.evidence.ThermodynamicIntegration(CROWDED),
    "steppingstone": lambda: lv.evidence.SteppingStone(LADDER),
}


def model(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, SCALES).to_event(1), obs=x)


def normal_guide(shift: float, width: float) -> Callable[[Tensor], None]:
    """The posterior's mean and deviation, off by a shift in its deviations and a factor."""

    def guide(x: Tensor) -> None:
        variance = 1 / (1 + SCALES**-2)
        loc = variance * x / SCALES**2 + shift * variance.sqrt()
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, width * variance.sqrt()).to_event(1))

    return guide


GUIDES = {
    "exact": normal_guide(0.0, 1.0),
    "wide": normal_guide(0.5, 2.0),
    "narrow": normal_guide(0.3, 0.5),
    "off": normal_guide(30.0, 0.1),
}


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_evidence_from_any_guide_is_right_or_flagged(name: str, guide: str) -> None:
    evidence = ESTIMATORS[name]().estimate(model, X, guide=GUIDES[guide], seed=1)
    slack = 0.0 if evidence.discretization_error is None else evidence.discretization_error
    close = (evidence.log_evidence - EXACT).abs() <= 4 * evidence.standard_error + slack + 1e-4
    assert bool((close | evidence.verdict.unreliable).all()), (evidence, EXACT)
    assert guide in {"narrow", "off"} or not bool(evidence.verdict.unreliable.any())


def test_the_exact_guide_leaves_hardly_an_error() -> None:
    estimator = lv.evidence.TemperedSMC(512, num_moves=3)
    near = estimator.estimate(model, X, guide=GUIDES["exact"])
    far = estimator.estimate(model, X)
    assert bool((near.standard_error < 0.3 * far.standard_error).all())
    assert near.num_likelihood_evaluations < far.num_likelihood_evaluations


def test_a_guide_off_its_place_gives_way_to_the_prior() -> None:
    program = lv.bind(model, X)
    with program.session(seed=0):
        shares = {}
        for name in ("exact", "off"):
            target = target_from(program, GUIDES[name])
            assert isinstance(target, ReferenceTarget)
            shares[name] = target.reference.prior_share
    assert bool((shares["exact"] < 0.1).all())
    assert bool((shares["off"] == 1).all())


@pytest.mark.parametrize("kind", [AutoNormal, AutoMultivariateNormal])
def test_autoguides_whose_density_is_that_of_their_draws(kind: type) -> None:
    def regression(x: Tensor, y: Tensor) -> None:
        weights = pyro.sample("weights", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(x @ weights, 1.0), obs=y)

    torch.manual_seed(0)
    x = torch.randn(20, 2)
    y = x @ torch.tensor([1.0, -1.0]) + torch.randn(20)
    covariance = torch.eye(20) + x @ x.T
    exact = dist.MultivariateNormal(torch.zeros(20), covariance).log_prob(y)
    guide = kind(regression, init_scale=0.3)
    guide(x, y)
    evidence = lv.evidence.TemperedSMC(512).estimate(regression, x, y, guide=guide)
    assert evidence.verdict.reliable
    assert abs(evidence.total - float(exact)) < 4 * evidence.total_standard_error


def test_estimators_of_one_ladder_share_its_run_from_the_guide() -> None:
    estimators = [lv.evidence.MultistateBAR(LADDER), lv.evidence.SteppingStone(LADDER)]
    guide = GUIDES["wide"]
    both = lv.compare_evidence(model, X, estimators, guide=guide, progress=False)
    for estimator in estimators:
        alone = estimator.estimate(model, X, guide=guide)
        assert torch.equal(both["model", estimator.name].log_evidence, alone.log_evidence)


def test_a_population_is_no_start() -> None:
    estimator, population = ESTIMATORS["multistate"](), lv.guides.MixtureGuide(model)
    with_population = estimator.estimate(model, X, guide=population)
    assert torch.equal(with_population.log_evidence, estimator.estimate(model, X).log_evidence)


PARTS = pyro.plate("parts", 2, dim=-2)


def test_a_masked_guide_of_a_masked_model() -> None:
    """Hidden latents have no density in either; chains move over them all the same."""
    seen = torch.tensor([[True, True], [True, False], [False, True]])
    x = torch.tensor([[0.5, -1.0], [1.5, 0.0], [0.0, 2.0]])

    def masked(x: Tensor, seen: Tensor) -> None:
        with (
            pyro.plate("data", len(x)),
            pyro.plate("parts", 2, dim=-2),
            pyro.poutine.mask(mask=seen.T),
        ):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.T)

    def guide(x: Tensor, seen: Tensor) -> None:
        with (
            pyro.plate("data", len(x)),
            pyro.plate("parts", 2, dim=-2),
            pyro.poutine.mask(mask=seen.T),
        ):
            pyro.sample("z", dist.Normal(x.T / 2, 1.0))

    exact = (seen * dist.Normal(0.0, 2**0.5).log_prob(x)).sum(-1).double()
    for name in ("smc", "multistate"):
        evidence = ESTIMATORS[name]().estimate(masked, x, seen, guide=guide, seed=1)
        assert_within_standard_errors(evidence.log_evidence, exact, WIDER * evidence.standard_error)
    evidence = lv.evidence.MixtureImportance(4096, num_pilots=256).estimate(masked, x, seen, seed=1)
    assert_within_standard_errors(evidence.log_evidence, exact, WIDER * evidence.standard_error)


def test_a_level_guide_has_no_gradient_of_its_own() -> None:
    def bounded(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(-9.0, 9.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Uniform(-9.0, 9.0))

    evidence = ESTIMATORS["smc"]().estimate(bounded, torch.zeros(2), guide=guide)
    exact = torch.full((2,), -math.log(18.0)).double()
    assert_within_standard_errors(evidence.log_evidence, exact, WIDER * evidence.standard_error)


def test_equal_steps_from_a_guide_know_their_error() -> None:
    """The draws of the prior make the curve steep at its beginning, which the error has to say."""
    ladder = replace(LADDER, num_temperatures=8, num_chains=32, num_samples=80)
    estimator = lv.evidence.ThermodynamicIntegration(ladder)
    evidence = estimator.estimate(model, X, guide=GUIDES["exact"], seed=1)
    assert evidence.discretization_error is not None
    excess = (evidence.log_evidence - EXACT).abs() - evidence.discretization_error
    assert bool((excess < 4 * evidence.standard_error).all())
    assert abs(evidence.total - float(EXACT.sum())) < (
        4 * evidence.total_standard_error + evidence.total_discretization_error
    )


def test_a_ladder_from_a_guide_has_no_likelihoods_for_arviz() -> None:
    samples = LADDER.sample(model, X, guide=GUIDES["wide"])
    assert samples.from_guide
    with pytest.raises(ValueError, match="began at a guide"):
        lv.to_arviz(samples)
    idata = lv.to_arviz(model, X, ladder=samples)
    assert "log_ratio" in idata["power_posterior"]
    exact = dist.Normal(samples.latents["z"], SCALES).log_prob(X).sum(-1).transpose(0, 1)
    found = torch.tensor(idata["conditional_log_likelihood"]["x"].values)
    torch.testing.assert_close(found.to(exact), exact)
