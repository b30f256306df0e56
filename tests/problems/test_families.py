"""The families' exact answers, each by a way that shares nothing with the one it comes from."""

import math
import pickle
from types import ModuleType

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.poutine.util import site_is_subsample
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.problems.chain import chain_log_evidence, draw_data, make_chain
from lvkam_pyro.problems.families import (
    additive,
    bounded,
    curved,
    data_sets,
    discrete,
    modes,
    normals,
    tails,
)
from lvkam_pyro.problems.families.curved import Valleys
from lvkam_pyro.problems.families.pieces import rotation, simulate
from lvkam_pyro.problems.problem import Problem
from lvkam_pyro.problems.suite import load_family, load_problem, problem_names
from tests.assertions import assert_within_standard_errors

ROOMS = (additive, bounded, curved, data_sets, discrete, modes, normals, tails)
NAMES = [family.name for room in ROOMS for family in room.FAMILIES]


@pytest.mark.parametrize("name", NAMES)
def test_family_is_a_function_of_its_seed(name: str) -> None:
    before = torch.get_rng_state()
    family = pickle.loads(pickle.dumps(load_family(name)))
    problem, again, other = (family.problem(seed) for seed in (4, 4, 5))
    assert torch.equal(torch.get_rng_state(), before)
    assert problem.x.dtype == problem.log_evidence.dtype == torch.float64
    assert torch.equal(problem.x, again.x)
    assert torch.equal(problem.log_evidence, again.log_evidence)
    assert problem.x.shape != other.x.shape or not torch.equal(problem.x, other.x)
    assert problem.log_evidence.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_family_has_one_answer_a_unit_in_either_precision(name: str) -> None:
    for dtype in (torch.float64, torch.float32):
        problem = load_problem(name, 2, dtype=dtype)
        assert problem.x.dtype == dtype
        evidence = lv.evidence.Importance(64).estimate(problem.model, problem.x)
        assert evidence.log_evidence.shape == problem.log_evidence.shape
        trace = pyro.poutine.trace(problem.model).get_trace(problem.x)
        assert trace.log_prob_sum().dtype == dtype


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__.rpartition(".")[2])
def test_each_kind_is_in_both_halves(room: ModuleType) -> None:
    assert {str(family.half) for family in room.FAMILIES} == {"choosing", "reporting"}


def test_halves_are_a_partition_of_nearly_equal_sizes() -> None:
    choosing, reporting = problem_names("choosing"), problem_names("reporting")
    assert sorted([*choosing, *reporting]) == sorted(problem_names())
    assert abs(len(choosing) - len(reporting)) <= 3
    assert len(problem_names()) >= 25


def latents_of(problem: Problem) -> dict[str, Tensor]:
    trace = pyro.poutine.trace(problem.model).get_trace(problem.x)
    sites = ((name, trace.nodes[name]) for name in trace.stochastic_nodes)
    return {name: site["value"] for name, site in sites if not site_is_subsample(site)}


def flat_log_joint(problem: Problem, flat: Tensor) -> Tensor:
    """The log density of everything at latents that are laid out in one vector."""
    shapes = latents_of(problem)
    parts = flat.split([value.numel() for value in shapes.values()])
    latents = {
        name: part.reshape(value.shape)
        for part, (name, value) in zip(parts, shapes.items(), strict=True)
    }
    model = pyro.poutine.condition(problem.model, latents)
    total: Tensor = pyro.poutine.trace(model).get_trace(problem.x).log_prob_sum()
    return total


NORMAL = [
    *(("one_mode", 0), ("one_mode", 2), ("sharp_linear", 1), ("thin", 4), ("correlated", 0)),
    *(("vague_prior", 0), ("outlier", 0), ("outlier", 1), ("nested_means", 0), ("crossed", 1)),
    *(("straight_lines", 0), ("straight_lines", 3)),
]


@pytest.mark.parametrize(("name", "seed"), NORMAL)
def test_exact_answer_is_laplaces_where_the_posterior_is_normal(name: str, seed: int) -> None:
    problem = load_problem(name, seed)
    size = sum(value.numel() for value in latents_of(problem).values())
    zero = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(flat_log_joint(problem, zero), zero)
    precision = -torch.autograd.functional.hessian(lambda z: flat_log_joint(problem, z), zero)
    peak = flat_log_joint(problem, torch.linalg.solve(precision, slope))
    total = peak + size / 2 * math.log(2 * math.pi) - torch.logdet(precision) / 2
    exact = problem.log_evidence.sum()
    torch.testing.assert_close(total, exact, rtol=1e-8, atol=1e-6)


MODES = [family.name for family in modes.FAMILIES]


@pytest.mark.parametrize("name", MODES)
def test_exact_answer_is_joint_less_posterior_at_any_point(name: str) -> None:
    """The posterior of normal modes under a normal prior is written down by hand."""
    problem = load_problem(name, 3)
    z = latents_of(problem)["z"]
    log_share, scale, centre = problem.x[..., 0], problem.x[..., 1:2], problem.x[..., 2:]
    variance = scale.square() / (1 + scale.square())
    posterior = dist.MixtureSameFamily(
        dist.Categorical(logits=log_share),
        dist.Normal(centre / (1 + scale.square()), variance.sqrt()).to_event(1),
    )
    model = pyro.poutine.condition(problem.model, {"z": z})
    trace = pyro.poutine.trace(model).get_trace(problem.x)
    trace.compute_log_prob()
    log_joint = trace.nodes["z"]["log_prob"] + trace.nodes["likelihood"]["log_prob"]
    torch.testing.assert_close(
        log_joint - posterior.log_prob(z), problem.log_evidence, rtol=1e-9, atol=1e-8
    )


BY_PRIOR = {
    "split_latents": 2,
    "parabola": 3,
    "rosenbrock": 7,
    "shell": 8,
    "funnels": 4,
    "waves": 4,
    "signs": 5,
    "student_prior": 5,
    "cauchy_prior": 1,
    "conflict": 9,
    "student_noise": 4,
    "cauchy_noise": 11,
    "poisson": 0,
    "bernoulli": 1,
    "choices": 0,
    "exchangeable": 0,
    "gamma_poisson": 2,
    "beta_binomial": 2,
    "simplex": 10,
    "corner": 9,
    "scales": 6,
    "half_normal": 9,
    "window": 8,
    "half_space": 11,
    "chains": 7,
    "schools": 1,
    "sharp_groups": 11,
    "logistic": 1,
}


@pytest.mark.parametrize(("name", "seed"), BY_PRIOR.items())
def test_exact_answer_is_the_mean_likelihood_under_the_prior(name: str, seed: int) -> None:
    """On the data that draws from the prior are enough for."""
    problem = load_problem(name, seed)
    evidence = lv.evidence.Importance(2**16).estimate(problem.model, problem.x)
    k = evidence.diagnostics["pareto_k"]
    enough = ~evidence.verdict.unreliable & (k < 0.5) & (evidence.standard_error < 0.05)
    assert enough.any()
    assert_within_standard_errors(
        evidence.log_evidence[enough],
        problem.log_evidence[enough],
        evidence.standard_error[enough],
    )


BY_NODES = [
    *(("robust", 0), ("robust", 1), ("logistic", 0), ("parabola", 0)),
    *(("choices", 1), ("exchangeable", 1), ("binomial", 0)),
]


@pytest.mark.parametrize(("name", "seed"), BY_NODES)
def test_exact_answer_is_that_of_adaptive_nodes(name: str, seed: int) -> None:
    problem = load_problem(name, seed)
    evidence = lv.evidence.Quadrature().estimate(problem.model, problem.x)
    reliable = ~evidence.verdict.unreliable
    error = (evidence.log_evidence - problem.log_evidence).abs()
    assert reliable.any()
    assert (error <= 2 * evidence.discretization_error + 1e-4)[reliable].all()


def test_valley_is_the_mean_likelihood_in_two_dimensions() -> None:
    model = Valleys(rotation(2), curvature=1.0, scale=0.1)
    x = simulate(model, torch.zeros(6, 1, dtype=torch.float64))
    evidence = lv.evidence.Importance(2**17).estimate(model, x)
    assert_within_standard_errors(
        evidence.log_evidence, model.log_evidence(x), evidence.standard_error
    )


def test_long_chain_has_panels_enough() -> None:
    model = make_chain(30, scale=0.05)
    x = draw_data(model, 2)
    coarse, fine = (chain_log_evidence(model, x, num_panels=count) for count in (200, 400))
    torch.testing.assert_close(coarse, fine, rtol=0, atol=1e-4)


def test_unknown_half_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no half 'middle'.*choosing, reporting"):
        problem_names("middle")
