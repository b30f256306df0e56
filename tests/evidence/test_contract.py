"""One contract for every estimator: exact answers, bad input, impossible data, calibration."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.prior_guide import PriorGuide
from tests.assertions import assert_within_standard_errors
from tests.evidence.estimators import ESTIMATORS
from tests.tracing import models

WIDER = 1.6
"""Student's tail of 16 replicates over the normal one, at the suite's rate."""

ANY_MODEL = [name for name, case in ESTIMATORS.items() if not case.needs_additive]
RANDOM = [name for name, case in ESTIMATORS.items() if case.is_random]


def assert_matches(evidence: lv.evidence.Evidence, exact: Tensor) -> None:
    """Within the errors that the estimator itself reports, and single precision's."""
    discretization = evidence.discretization_error
    slack = 2e-5 + (0.0 if discretization is None else discretization)
    error = WIDER * evidence.standard_error.clamp(min=1e-12)
    assert_within_standard_errors(evidence.log_evidence, exact.double(), error, extra=slack)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_linear_gaussian(name: str) -> None:
    model = models.LinearGaussian(2, 4, scale=1.0)
    x = model.sample(8)
    estimator = ESTIMATORS[name].make()
    before = torch.get_rng_state()
    evidence = estimator.estimate(model, x, seed=3)
    again = estimator.estimate(model, x, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(evidence.log_evidence, again.log_evidence)
    assert torch.equal(evidence.standard_error, again.standard_error)
    assert evidence.verdict.reliable, str(evidence)
    assert_matches(evidence, model.exact(x))
    error = WIDER * max(evidence.total_standard_error, 1e-12)
    slack = evidence.total_discretization_error + 8 * 2e-5
    exact = model.exact(x).sum()
    total = torch.tensor(evidence.total, dtype=torch.float64)
    assert_within_standard_errors(total, exact, torch.tensor(error), extra=slack)
    for values in (evidence.log_evidence, evidence.standard_error, evidence.verdict.unreliable):
        assert values.shape == (8,)
    assert evidence.log_evidence.dtype == torch.float64
    assert evidence.num_likelihood_evaluations > 0
    assert evidence.num_replicates >= 8
    assert not any(value.requires_grad for value in evidence.diagnostics.values())


@pytest.mark.parametrize("name", RANDOM)
def test_another_seed_is_another_result(name: str) -> None:
    model = models.LinearGaussian(1, 2)
    x, estimator = model.sample(2), ESTIMATORS[name].make()
    one, other = (estimator.estimate(model, x, seed=seed).log_evidence for seed in (3, 4))
    assert not torch.equal(one, other)


def squared(x: Tensor) -> None:
    """Two modes: x = z^2 + noise."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z**2, 0.5), obs=x)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_two_modes(name: str) -> None:
    x = torch.tensor([-0.5, 2.0])
    grid = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    log_joint = dist.Normal(0.0, 1.0).log_prob(grid) + dist.Normal(grid**2, 0.5).log_prob(
        x[:, None]
    )
    exact = log_joint.logsumexp(-1) + (grid[1] - grid[0]).log()
    assert_matches(ESTIMATORS[name].make().estimate(squared, x), exact)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_minibatch_counts_for_all(name: str) -> None:
    x, estimator = torch.linspace(-1, 1, 4), ESTIMATORS[name].make()
    evidence = estimator.estimate(models.with_plate_total, x)
    assert evidence.data_scale == 25.0
    assert_matches(evidence, models.normal_evidence(x, 2.0))
    loss = estimator.loss(models.with_plate_total, None, x)
    assert isinstance(loss, float)
    assert abs(loss + 25 * evidence.total) < 25 * (0.05 + 10 * evidence.total_standard_error)


def window(x: Tensor) -> None:
    """Possible where z > x alone: evidence 1 - Phi(x), and none at all beyond single precision."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.factor("window", torch.where(z > x, 0.0, -torch.inf))


@pytest.mark.parametrize("name", ANY_MODEL)
def test_impossible_particles_and_an_impossible_datum(name: str) -> None:
    evidence = ESTIMATORS[name].make().estimate(window, torch.tensor([0.0, 1e6]))
    assert evidence.log_evidence[1] == -torch.inf
    assert evidence.verdict.unreliable[1]
    assert not evidence.log_evidence.isnan().any()
    assert not evidence.standard_error.isnan().any()
    if name in {"thermodynamic", "reverse"}:  # An infinite mean; unseen from above.
        assert evidence.verdict.unreliable.all()
    else:
        half = torch.tensor(0.5).log().double()
        error = WIDER * evidence.standard_error[0].clamp(min=1e-12)
        discretization = evidence.discretization_error
        slack = 2e-5 + (0.0 if discretization is None else float(discretization[0]))
        assert_within_standard_errors(evidence.log_evidence[0], half, error, extra=slack)


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name != "quadrature"])
def test_an_outlier_is_right_or_flagged_and_the_other_data_stay(name: str) -> None:
    model = models.LinearGaussian(5, 8, scale=0.1)
    x = model.sample(6)
    x[2] *= 20
    exact = model.exact(x)
    evidence = ESTIMATORS[name].make().estimate(model, x, seed=1)
    believed = ~evidence.verdict.unreliable
    if name in {"mixture", "mixture smc", "lookahead", "auto"}:
        assert believed[torch.arange(6) != 2].all(), str(evidence)
    discretization = evidence.discretization_error
    slack = 2e-5 - 1e-6 * exact + (0.0 if discretization is None else discretization)
    error = WIDER * evidence.standard_error.clamp(min=1e-12)
    assert not evidence.log_evidence.isnan().any()
    assert not error.isnan().any()
    believed_values = torch.where(believed, evidence.log_evidence, exact)
    assert_within_standard_errors(believed_values, exact, error, extra=slack)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_gradient_is_fishers(name: str) -> None:
    shift = torch.tensor(0.5, requires_grad=True)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + shift, 1.0), obs=x)

    x, estimator = torch.linspace(-1, 2, 6), ESTIMATORS[name].make()
    gradients = torch.stack(
        [
            torch.autograd.grad(estimator.log_evidence(bind(model, x), None)[0], shift)[0]
            for _ in range(4)
        ]
    )
    # Posterior deviations of 0.7; at least some fifty effective draws in every run.
    error = max(float(gradients.std()), 0.02)
    assert abs(float(gradients.mean() - ((x - 0.5) / 2).sum())) < 3 * error


def discrete_latent(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        k = pyro.sample("k", dist.Poisson(0.5))
        pyro.sample("x", dist.Normal(k, 1.0), obs=x)


def unobserved(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.0, 1.0))


ONES = torch.ones(3)
BAD_INPUT: dict[str, tuple[type[Exception], Callable[[Tensor], None], object, str]] = {
    "a discrete latent": (
        ValueError,
        discrete_latent,
        ONES,
        "'k' is discrete and has no list of its values .Poisson.",
    ),
    "nothing observed": (ValueError, unobserved, ONES, "observes nothing"),
    "a list": (TypeError, models.with_factor, [1.0], "torch.Tensor"),
    "no data": (ValueError, models.with_factor, torch.zeros(0), r"shape \(0,\)"),
    "a NaN": (ValueError, models.with_factor, torch.tensor([0.0, torch.nan]), "1 of 2 values"),
}


@pytest.mark.parametrize("bad", BAD_INPUT)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_bad_input_is_refused(name: str, bad: str) -> None:
    error, model, x, match = BAD_INPUT[bad]
    with pytest.raises(error, match=match):
        ESTIMATORS[name].make().estimate(model, x)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [n for n, c in ESTIMATORS.items() if c.takes_guide] + ["auto"])
def test_a_guide_that_misses_a_site_is_refused(name: str) -> None:
    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=r"does not draw the model's latent sites \['b'\]"):
        ESTIMATORS[name].make().estimate(models.two_sites, ONES, guide=guide)


@pytest.mark.parametrize("name", [n for n, c in ESTIMATORS.items() if c.needs_independent])
def test_dependent_latents_are_refused_where_they_must_be(name: str) -> None:
    with pytest.raises(ValueError, match=r"depends on|independent"):
        ESTIMATORS[name].make().estimate(models.with_bounds, ONES)


@pytest.mark.parametrize("name", [n for n, c in ESTIMATORS.items() if not c.takes_guide])
def test_a_guide_is_left_aside_where_none_is_needed(name: str) -> None:
    model, x = models.with_plate_total, ONES
    estimator = ESTIMATORS[name].make()
    one, other = (estimator.estimate(model, x, guide=guide) for guide in (None, PriorGuide(model)))
    if name != "auto":
        assert torch.equal(one.log_evidence, other.log_evidence)


@pytest.mark.slow
@pytest.mark.parametrize("name", RANDOM)
def test_the_errors_are_calibrated(name: str) -> None:
    """The z-scores of many runs have a deviation of about one, data and totals alike."""
    model = models.LinearGaussian(2, 4, scale=1.0)
    x = model.sample(6)
    exact, estimator = model.exact(x), ESTIMATORS[name].make()
    runs = [estimator.estimate(model, x, seed=seed) for seed in range(30)]
    slack = torch.stack(
        [torch.zeros(6) if r.discretization_error is None else r.discretization_error for r in runs]
    )
    distance = torch.stack([r.log_evidence - exact for r in runs])
    distance = distance.sign() * (distance.abs() - slack).clamp(min=0)
    scores = distance / torch.stack([r.standard_error for r in runs])
    # Six data of thirty runs, which share draws within a run.
    assert 0.7 < float(scores.std()) < 1.35
