"""The exact answers, by a way that shares nothing with the one they come from.

Each model is weighed by a guide made for it. Where the guide is the posterior, all weights are
equal, and equal to the evidence.
"""

import math
import pickle
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.problems.chain import chain_log_evidence, draw_data, make_chain
from lvkam_pyro.problems.linear import MixedLinear
from lvkam_pyro.problems.problem import Problem
from lvkam_pyro.problems.suite import FIRST, load_problem
from tests.assertions import assert_within_standard_errors

ROUNDING = 1e-6


def bimodal(x: Tensor) -> None:
    """The posterior: a normal law at the datum and one at its negative."""
    mean, variance = x / 1.09, 0.09 / 1.09
    shares = dist.Categorical(x.new_tensor([0.8, 0.2]))
    parts = dist.Normal(torch.stack([mean, -mean], -2), variance**0.5).to_event(1)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.MixtureSameFamily(shares, parts))


def conjugate_regression(x: Tensor) -> None:
    """The posterior, normal-inverse-gamma with hyperparameters 3, 2 and 1."""
    y, features = x[..., 0], x[..., 1:]
    precision = torch.eye(4).to(x) + features.mT @ features
    mean = torch.linalg.solve(precision, (features.mT @ y[..., None])[..., 0])
    rate = 2 + (y.square().sum(-1) - (y * (features @ mean[..., None])[..., 0]).sum(-1)) / 2
    with pyro.plate("data", len(x)):
        variance = pyro.sample("variance", dist.InverseGamma(x.new_tensor(3 + 20 / 2), rate))
        precision = precision / variance[..., None, None]
        pyro.sample("beta", dist.MultivariateNormal(mean, precision_matrix=precision))


def gaussian_shells(x: Tensor) -> None:
    """A point on a shell around either centre, its radius near the datum."""
    with pyro.plate("data", len(x)):
        radius = dist.Normal(x, 0.1)
        r = pyro.sample("radius", radius, infer={"is_auxiliary": True})
        shape = (*r.shape, 10)
        direction = torch.nn.functional.normalize(torch.randn(shape, dtype=x.dtype), dim=-1)
        centre = 3.5 * torch.eye(1, 10).to(x) * (2 * torch.randint(2, (*r.shape, 1)) - 1)
        z = centre + r[..., None] * direction
        radii = torch.stack(
            [(z - 3.5 * torch.eye(1, 10)).norm(dim=-1), (z + 3.5 * torch.eye(1, 10)).norm(dim=-1)]
        )
        area = math.log(2) + 5 * math.log(math.pi) - math.lgamma(5) + 9 * radii.log()
        log_density = (radius.log_prob(radii) - area).logsumexp(0) - math.log(2)
        # The radius is no more than a way to draw: its own density is taken out again.
        pyro.sample("z", dist.Delta(z, log_density=log_density - radius.log_prob(r), event_dim=1))


def funnel(x: Tensor) -> None:
    """The prior of the size, and the posterior of the effects given the size."""
    with pyro.plate("data", len(x)):
        v = pyro.sample("v", dist.Normal(x.new_zeros(()), 2.0))[..., None]
        variance = 1 / (torch.exp(-v) + 4)
        pyro.sample("z", dist.Normal(4 * x * variance, variance.sqrt()).to_event(1))


def banana(x: Tensor) -> None:
    """The prior of one latent, and the posterior of the other given the first."""
    with pyro.plate("data", len(x)) as data:
        first = dist.Normal(x.new_zeros(len(data)), 2.0)
        a = pyro.sample("a", first, infer={"is_auxiliary": True})
        variance = 1 / (1 / 4 + 100)
        second = dist.Normal(100 * (x + a**2) * variance, variance**0.5)
        b = pyro.sample("b", second, infer={"is_auxiliary": True})
        pyro.sample("z", dist.Delta(torch.stack([a, b], -1), event_dim=1))


def spike_and_plateau(x: Tensor) -> None:
    """The posterior: the prior, and a narrow law about the spike."""
    variance = 1e-4 / (1 + 1e-4)
    loc = torch.stack([torch.zeros(10), torch.full((10,), 2 / (1 + 1e-4))]).to(x)
    scale = torch.tensor([1.0, variance**0.5], dtype=x.dtype)[:, None].expand(2, 10)
    shares = dist.Categorical(x.new_tensor([math.exp(-4), 1 - math.exp(-4)]))
    with pyro.plate("data", len(x)):
        law = dist.MixtureSameFamily(shares, dist.Normal(loc, scale).to_event(1))
        pyro.sample("z", law.expand([len(x)]))


GUIDES: dict[str, tuple[Callable[[Tensor], None], int]] = {
    "bimodal": (bimodal, 100),
    "conjugate_regression": (conjugate_regression, 100),
    "gaussian_shells": (gaussian_shells, 10_000),
    "funnel": (funnel, 20_000),
    "banana": (banana, 20_000),
    "spike_and_plateau": (spike_and_plateau, 2000),
}
NAMES = [family.name for family in FIRST]
ADDITIVE = [name for name in NAMES if name not in {*GUIDES, "label_switching"}]


@pytest.mark.parametrize("name", GUIDES)
def test_exact_answer_is_the_mean_weight_of_a_made_guide(name: str) -> None:
    problem, (guide, num_particles) = load_problem(name), GUIDES[name]
    particles = lv.draw_particles(problem.model, guide, problem.x, num_particles=num_particles)
    shares = (particles.log_weights - particles.log_evidence).exp()
    assert_within_standard_errors(
        particles.log_evidence,
        problem.log_evidence,
        (shares.std(0) / num_particles**0.5).clamp(min=1e-12),
        extra=ROUNDING,
    )


def test_label_switching_is_a_sum_over_squares() -> None:
    """The rule of midpoints, whose error is far below the rounding."""
    problem = load_problem("label_switching")
    centres = (torch.arange(400).double() + 0.5) / 400 * 24 - 12
    means = torch.cartesian_prod(centres, centres)[:, None].expand(-1, problem.num_data, -1)
    model = pyro.poutine.condition(problem.model, {"means": means})
    trace = pyro.poutine.trace(model).get_trace(problem.x)
    trace.compute_log_prob()
    log_joint = sum(trace.nodes[name]["log_prob"] for name in ("means", "x"))
    log_evidence = log_joint.logsumexp(0) + 2 * math.log(24 / 400)
    assert_within_standard_errors(
        log_evidence, problem.log_evidence, torch.tensor(1e-12), extra=ROUNDING
    )


@pytest.mark.parametrize("name", ADDITIVE)
def test_exact_answer_is_that_of_the_look_ahead(name: str) -> None:
    problem = load_problem(name)
    evidence = lv.evidence.Lookahead(512, num_replicates=32).estimate(problem.model, problem.x)
    assert_within_standard_errors(
        evidence.log_evidence,
        problem.log_evidence,
        evidence.standard_error.clamp(min=1e-12),
        extra=evidence.discretization_error + 1e-5,
    )


def test_chains_move_on_mixtures_of_each_coordinate() -> None:
    model = MixedLinear(torch.eye(2, dtype=torch.float64))
    x = torch.tensor([[-1.0, 1.5], [0.2, -0.9]], dtype=torch.float64)
    ladder = lv.ladder.Ladder(num_temperatures=6, num_warmup=60, num_samples=40)
    evidence = lv.evidence.MultistateBAR(ladder).estimate(model, x)
    assert_within_standard_errors(
        evidence.log_evidence, model.log_evidence(x), 1.4 * evidence.standard_error
    )


def test_transfer_matrices_are_a_tensor_quadrature() -> None:
    model = make_chain(2)
    x = draw_data(model, 3)
    points = (torch.arange(1500, dtype=torch.float64) + 0.5) / 1500
    low, high = model.prior.domain
    z = low + (high - low) * torch.cartesian_prod(points, points)
    with torch.no_grad():
        log_prior = model.prior().log_prob(z)
        log_likelihood = model.likelihood(model.generator(z)[:, None]).log_prob(x)
    total = (log_prior[:, None] + log_likelihood).logsumexp(0) + 2 * math.log((high - low) / 1500)
    # The midpoint rule's own error at 1500 points is below 1e-6.
    torch.testing.assert_close(chain_log_evidence(model, x), total, rtol=0, atol=1e-5)


def test_more_panels_change_nothing() -> None:
    problem = load_problem("lvkam_chain_8")
    finer = chain_log_evidence(problem.model, problem.x, num_panels=150)
    torch.testing.assert_close(finer, problem.log_evidence, rtol=0, atol=1e-6)


def test_no_estimator_sees_the_spike() -> None:
    """The blind spot is documented as such: reliable, sure, and wrong by four nats."""
    problem = load_problem("spike_and_plateau")
    evidence = lv.evidence.Importance(1024).estimate(problem.model, problem.x)
    assert evidence.verdict.reliable
    missed = problem.log_evidence - evidence.log_evidence
    torch.testing.assert_close(missed, torch.full_like(missed, 4.0), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_problem_repeats_and_travels_to_another_process(name: str) -> None:
    before = torch.get_rng_state()
    problem, again = load_problem(name), load_problem(name)
    assert torch.equal(torch.get_rng_state(), before)
    assert problem.name == name
    assert problem.x.dtype == problem.log_evidence.dtype == torch.float64
    assert torch.equal(problem.x, again.x)
    assert torch.equal(problem.log_evidence, again.log_evidence)
    assert callable(pickle.loads(pickle.dumps(problem.model)))


X = torch.zeros(3)
WRONG = {
    "a problem of no data": (X[:0], X[:0], ValueError, "at least one datum"),
    "data as a list": ([0.0], X[:1], TypeError, r"torch\.Tensor"),
    "two answers for three data": (X, X[:2], ValueError, r"of 3 data.*got shape \(2,\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_problem_is_refused(case: str) -> None:
    x, answers, error, match = WRONG[case]
    with pytest.raises(error, match=match):
        Problem("mine", "mine", print, x, answers, "closed form")


def test_unknown_problem_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no problem 'cube'.*funnel, banana"):
        load_problem("cube")
