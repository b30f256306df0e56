"""The cascade: which method serves which model and datum, and how their results are joined."""

import math
from collections.abc import Callable
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from lvkam_pyro.evidence.auto import Auto
from lvkam_pyro.evidence.cascade import CascadeEvidence, Step, Steps, combine_steps
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.multistate import MultistateBAR
from lvkam_pyro.evidence.quadrature import Quadrature
from lvkam_pyro.evidence.quasi_monte_carlo import QuasiMonteCarlo
from lvkam_pyro.evidence.steppingstone import SteppingStone
from lvkam_pyro.evidence.verdict import Verdict
from lvkam_pyro.ladder.ladder import Ladder
from lvkam_pyro.tracing.bind import bind
from tests.assertions import assert_within_standard_errors
from tests.tracing import models

LADDER = Ladder(num_temperatures=12, num_chains=16, num_warmup=60, num_samples=60)
WIDER = 1.6
"""Student's tail of 16 replicates over the normal one, at the suite's rate."""


def step(
    values: list[float],
    *,
    data: list[int] | None = None,
    bad: list[int] | None = None,
    error: float = 0.1,
    num_data: int = 3,
    name: str = "one",
) -> Step:
    """A run with given values, of 16 replicates that err alike on all its data."""
    index = torch.arange(len(values)) if data is None else torch.tensor(data)
    unreliable = torch.zeros(num_data, dtype=torch.bool)
    unreliable[[] if bad is None else bad] = True
    missing = torch.ones(num_data, dtype=torch.bool)
    missing[index] = False
    log_evidence = torch.tensor(values, dtype=torch.float64)
    noise = torch.linspace(-1, 1, 16, dtype=torch.float64)
    noise = error * noise / (noise.std(unbiased=False) * 15**0.5)
    evidence = Evidence.of(
        log_evidence,
        log_evidence + noise[:, None],
        diagnostics={},
        verdict=Verdict(False, ("some data are bad.",), "Do better.", unreliable[index]),
        num_likelihood_evaluations=100,
        estimator=name,
        data_hash="",
    )
    return Step(evidence, index, unreliable | missing)


def combine(*steps: Step) -> CascadeEvidence:
    return combine_steps(steps, (), data_hash="", estimator="Auto")


def test_each_datum_has_its_first_reliable_value() -> None:
    first = step([1.0, 2.0, 3.0], bad=[1, 2])
    second = step([2.2, 3.1], data=[1, 2], bad=[2], name="two")
    third = step([3.2], data=[2], name="three")
    evidence = combine(first, second, third)
    assert evidence.methods == ("one", "two", "three")
    assert evidence.log_evidence.tolist() == [1.0, 2.2, 3.2]
    assert evidence.verdict.reliable
    assert evidence.num_likelihood_evaluations == 200
    assert len(evidence.steps) == 3
    assert evidence.total_standard_error == pytest.approx(0.1 * 3**0.5)


def test_data_of_one_method_err_together() -> None:
    evidence = combine(step([1.0, 2.0, 3.0], bad=[2]), step([3.0], data=[2], name="two"))
    assert evidence.total_standard_error == pytest.approx((0.2**2 + 0.1**2) ** 0.5)


def test_without_a_reliable_value_the_surest_counts_and_is_flagged() -> None:
    second = step([1.1], data=[0], bad=[0], error=0.05, name="two")
    third = step([0.9], data=[0], bad=[0], error=0.5, name="three")
    evidence = combine(step([1.0, 2.0, 3.0], bad=[0]), second, third)
    assert evidence.methods == ("two", "one", "one")
    assert evidence.verdict.unreliable.tolist() == [True, False, False]
    assert evidence.verdict.reasons[-1] == "three: some data are bad."
    assert evidence.verdict.remedy == "Do better."


def test_reliable_values_that_disagree_are_flagged() -> None:
    agree = combine(step([1.0, 2.0, 3.0], bad=[2]), step([1.1, 2.2, 3.0], name="two"))
    assert agree.verdict.reliable
    differ = combine(step([1.0, 2.0, 3.0], bad=[2]), step([1.0, 2.9, 3.0], name="two"))
    assert differ.verdict.unreliable.tolist() == [False, True, False]
    assert "disagreement of methods" in differ.verdict.reasons[0]
    assert differ.log_evidence[1] == 2.0


def test_a_value_far_below_an_unbiased_one_is_flagged() -> None:
    low = step([1.0], data=[2], name="two")
    evidence = combine(step([1.0, 2.0, 15.0], bad=[2]), low)
    assert evidence.verdict.unreliable.tolist() == [False, False, True]
    assert "excess of another method" in evidence.verdict.reasons[0]
    below = combine(step([1.0, 2.0, -15.0], bad=[2]), low)
    assert below.verdict.reliable
    near = combine(step([1.0, 2.0, 2.5], bad=[2]), low)
    assert near.verdict.unreliable.tolist() == [False, False, True]
    noisy = combine(step([1.0, 2.0, 2.5], bad=[2], error=0.5), low)
    assert noisy.verdict.reliable


def controlled(values: list[float]) -> Step:
    return replace(step(values, num_data=len(values), name="quick"), needs_control=True)


def test_controls_go_on_and_others_do_not() -> None:
    steps = Steps(100)
    steps.add(controlled([1.0] * 100))
    assert int(steps.left.sum()) == 8
    index = steps.left.nonzero()[:, 0].tolist()
    steps.add(step([1.1] * 8, data=index, num_data=100))
    assert not steps.left.any()
    evidence = combine(*steps.all)
    assert set(evidence.methods) == {"quick"}
    assert evidence.verdict.reliable


@pytest.mark.parametrize(("value", "num_flagged"), [(2.0, 0), (0.0, 1)])
def test_one_contradiction_sends_all_data_on(value: float, num_flagged: int) -> None:
    """A control from above has seen more; one from below leaves open who is right."""
    steps = Steps(100)
    steps.add(controlled([1.0] * 100))
    index = steps.left.nonzero()[:, 0].tolist()
    steps.add(step([value, *[1.0] * 7], data=index, num_data=100, name="control"))
    assert steps.left.sum() == 92
    rest = steps.left.nonzero()[:, 0].tolist()
    steps.add(step([1.0] * 92, data=rest, num_data=100, name="slow"))
    evidence = combine(*steps.all)
    assert "quick" not in evidence.methods
    assert evidence.verdict.unreliable.nonzero().tolist() == [[index[0]]] * num_flagged


def test_a_narrow_mode_that_all_paths_miss_is_found() -> None:
    centre = torch.eye(6)[0]

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(6), 1.0).to_event(1))
            bumps = torch.stack([bump(z, centre, 0.1), bump(z, -centre, 0.5)]).logsumexp(0)
            pyro.factor("likelihood", bumps - math.log(2) + 0.0 * x)

    def bump(z: Tensor, centre: Tensor, scale: float) -> Tensor:
        marginal = dist.Normal(0.0, (1 + scale**2) ** 0.5).log_prob(centre).sum()
        return dist.Normal(centre, scale).log_prob(z).sum(-1) - marginal

    evidence = Auto().estimate(model, torch.zeros(3))
    assert evidence.verdict.reliable, str(evidence)
    error = WIDER * evidence.standard_error
    assert_within_standard_errors(evidence.log_evidence, torch.zeros(3).double(), error)
    assert bool((error < 0.05).all())


def test_a_guide_of_one_mode_is_contradicted() -> None:
    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.unsqueeze(-1).expand(-1, 4), 0.3).to_event(1))

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
            folded = dist.Normal(z.abs(), 0.3).to_event(1)
            pyro.sample("x", folded, obs=x.unsqueeze(-1).expand(-1, 4))

    x = torch.full((20,), 1.0)
    one = dist.Normal(0.0, (1 + 0.09) ** 0.5).log_prob(torch.tensor(1.0).double())
    # Of each latent the half line on one side of zero, twice.
    inside = dist.Normal(1 / 1.09, (0.09 / 1.09) ** 0.5)
    exact = (4 * (one + math.log(2) + inside.cdf(torch.tensor(0.0)).neg().log1p())).expand(20)
    evidence = Auto().estimate(model, x, guide=guide)
    assert "Importance" not in evidence.methods
    believed = ~evidence.verdict.unreliable
    error = WIDER * evidence.standard_error.clamp(min=1e-12)[believed]
    assert bool(believed.any())
    assert evidence.discretization_error is not None
    slack = evidence.discretization_error[believed] + 1e-4
    values = evidence.log_evidence[believed]
    assert_within_standard_errors(values, exact[believed], error, extra=slack)


def test_quadrature_serves_few_latents() -> None:
    model = models.LinearGaussian(2, 3)
    x = model.sample(4)
    evidence = Auto().estimate(model, x)
    assert set(evidence.methods) == {"Quadrature"}
    assert len(evidence.steps) == 1
    torch.testing.assert_close(evidence.log_evidence, model.exact(x), rtol=0, atol=1e-4)
    assert evidence.verdict.reliable
    assert evidence.total_standard_error == 0


def test_a_guide_is_tried_before_chains() -> None:
    model = models.LinearGaussian(4, 5)
    x = model.sample(4)
    evidence = Auto().estimate(model, x, guide=model.posterior)
    assert set(evidence.methods) == {"Importance"}
    assert "1 to 3 latent coordinates" in evidence.skipped[0]
    torch.testing.assert_close(evidence.log_evidence, model.exact(x), rtol=0, atol=1e-4)


def test_look_ahead_serves_additive_models() -> None:
    model = models.LinearGaussian(10, 12, scale=0.3)
    x = model.sample(3)
    evidence = Auto().estimate(model, x)
    assert set(evidence.methods) == {"Lookahead"}
    torch.testing.assert_close(evidence.log_evidence, model.exact(x), rtol=0, atol=1e-3)


def test_only_the_data_left_over_go_on() -> None:
    x = torch.tensor([0.0, 9.0, 0.5, -10.0])
    cascade = Auto([QuasiMonteCarlo(256), MultistateBAR(LADDER)])
    evidence = cascade.estimate(models.with_plate_total, x)
    assert evidence.methods == ("QuasiMonteCarlo", "MBAR", "QuasiMonteCarlo", "MBAR")
    assert evidence.steps[1].num_data == 2
    assert evidence.data_scale == 25.0
    exact = models.normal_evidence(x, 2.0).double()
    error = WIDER * evidence.standard_error
    assert_within_standard_errors(evidence.log_evidence, exact, error, extra=1e-5)
    assert evidence.verdict.unreliable.tolist() == [False] * 4, str(evidence)


def test_a_fixed_plate_keeps_its_data_together() -> None:
    x = torch.tensor([0.0, 9.0, 0.5, -10.0])
    cascade = Auto([QuasiMonteCarlo(256), MultistateBAR(LADDER)])
    evidence = cascade.estimate(models.with_fixed_plate, x)
    assert evidence.steps[1].num_data == 4
    assert evidence.methods == ("QuasiMonteCarlo", "MBAR", "QuasiMonteCarlo", "MBAR")


def test_the_loss_has_the_first_methods_gradient() -> None:
    shift = torch.tensor(0.5, requires_grad=True)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(5), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1) + shift, 1.0), obs=x)

    x = torch.linspace(-1, 2, 5)
    cascade = Auto([Quadrature(), QuasiMonteCarlo()])
    total, _ = cascade.log_evidence(bind(model, x), None)
    (gradient,) = torch.autograd.grad(total, shift)
    assert float(gradient) == pytest.approx(float(((x - 0.5) / 6).sum()), abs=0.02)


def test_no_method_applies() -> None:
    cascade = Auto([Quadrature()])
    with pytest.raises(ValueError, match="1 to 3 latent coordinates"):
        cascade.estimate(models.LinearGaussian(4, 2), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="1 to 3 latent coordinates"):
        cascade.log_evidence(bind(models.LinearGaussian(4, 2), torch.zeros(2, 2)), None)


def test_no_estimator() -> None:
    with pytest.raises(ValueError, match="at least one estimator"):
        Auto([])


@pytest.mark.parametrize("kind", [MultistateBAR, SteppingStone])
def test_methods_of_ones_own(kind: Callable[..., MultistateBAR]) -> None:
    x = torch.linspace(-1, 1, 3)
    evidence = Auto([kind(LADDER)]).estimate(models.with_factor, x)
    exact = models.normal_evidence(x, 2.0).double()
    assert_within_standard_errors(evidence.log_evidence, exact, WIDER * evidence.standard_error)
