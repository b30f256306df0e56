"""Look-ahead draws and evidence against exact answers."""

import math

import pyro
import pytest
import torch
from pyro.infer import Predictive
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.additive.lookahead_sampler import LookaheadDraws, LookaheadSampler
from lvkam_pyro.additive.model import AdditiveModel
from lvkam_pyro.additive.tables import AdditiveTables
from lvkam_pyro.statistics.weights import effective_sample_size
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind
from tests.assertions import assert_within_standard_errors
from tests.ladder.chains import chain, draw_data, exact_log_evidence
from tests.tracing import models


def draws_of(model: Program, x: Tensor, num_particles: int, num_islands: int) -> LookaheadDraws:
    tables = AdditiveTables.of(AdditiveModel.of(bind(model, x)))
    with torch.no_grad():
        return LookaheadSampler(tables).sample(
            *tables.project(bind(model, x)), num_particles, num_islands=num_islands
        )


def test_every_weight_is_the_evidence_of_a_linear_model() -> None:
    model = models.LinearGaussian(6, 4)
    x = model.sample(5)
    draws = draws_of(model, x, 16, 2)
    # Left are the nodes' quadrature and the model's single precision.
    expected = model.exact(x).expand_as(draws.log_weights)
    torch.testing.assert_close(draws.log_weights, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("num_latents", [2, 8, 16])
def test_evidence_of_a_chain(num_latents: int) -> None:
    model = chain(num_latents)
    x = draw_data(model, 6)
    evidence = lv.evidence.Lookahead(2048, num_replicates=64).estimate(model, x)
    assert evidence.verdict.reliable, str(evidence.verdict)
    assert_within_standard_errors(
        evidence.log_evidence,
        exact_log_evidence(model, x),
        evidence.standard_error,
        extra=evidence.discretization_error + 1e-6,
    )


def test_accuracy_of_a_long_chain() -> None:
    """The published figure: 0.03 nats at 16 latents, here at the default size."""
    model = chain(16)
    x = draw_data(model, 4)
    evidence = lv.evidence.Lookahead().estimate(model, x)
    error = evidence.log_evidence - exact_log_evidence(model, x)
    assert error.square().mean().sqrt() < 0.03


def test_total_of_islands_is_unbiased() -> None:
    """The mean of the islands' evidences over the exact one is 1, also with few particles."""
    model = chain(6, scale=0.05)
    x = draw_data(model, 4)
    log_weights = draws_of(model, x, 8, 2000).log_weights
    ratio = (log_weights.logsumexp(1) - math.log(8) - exact_log_evidence(model, x)).exp()
    assert_within_standard_errors(
        ratio.mean(0), torch.ones(4).double(), ratio.std(0) / len(ratio) ** 0.5, extra=1e-3
    )


def test_the_joint_density_of_the_draws_is_the_models() -> None:
    model = chain(4)
    x = draw_data(model, 3)
    tables = AdditiveTables.of(AdditiveModel.of(bind(model, x)))
    draws = LookaheadSampler(tables).sample(*tables.project(bind(model, x)), 32)
    position = tables.at(tables.nodes, draws.nodes[0])
    log_masses = tables.at(tables.log_masses, draws.nodes[0]).sum(-1)
    with torch.no_grad():
        mean = model.generator(position)
        log_likelihood = model.likelihood(mean).log_prob(x)
    torch.testing.assert_close(draws.log_joint[0], log_masses + log_likelihood)


@pytest.fixture
def fitted() -> tuple[lv.LVKAM, Tensor]:
    model = chain(5)
    return model, draw_data(model, 4)


def test_the_guides_weights_are_the_models(fitted: tuple[lv.LVKAM, Tensor]) -> None:
    model, x = fitted
    log_evidence = []
    for _ in range(64):
        particles = lv.draw_particles(model, lv.guides.LookaheadGuide(model), x, num_particles=128)
        log_evidence.append(particles.log_evidence.detach())
    ratio = (torch.stack(log_evidence) - exact_log_evidence(model, x)).exp()
    error = ratio.std(0) / len(ratio) ** 0.5
    assert_within_standard_errors(ratio.mean(0), torch.ones(4).double(), error)


def test_the_guides_weights_are_nearly_equal(fitted: tuple[lv.LVKAM, Tensor]) -> None:
    model, x = fitted
    particles = lv.draw_particles(
        model, lv.guides.LookaheadGuide(model, num_nodes=256), x, num_particles=512
    )
    assert effective_sample_size(particles.log_weights).min() > 200


def test_fewer_draws_are_resampled_from_a_population(fitted: tuple[lv.LVKAM, Tensor]) -> None:
    model, x = fitted
    guide = lv.guides.LookaheadGuide(model, num_particles=256)
    estimates = [
        lv.draw_particles(model, guide, x, num_particles=4).log_evidence.detach()
        for _ in range(100)
    ]
    ratio = (torch.stack(estimates) - exact_log_evidence(model, x)).exp()
    error = ratio.std(0) / len(ratio) ** 0.5
    assert_within_standard_errors(ratio.mean(0), torch.ones(4).double(), error)


def test_predictive_draws_from_the_posterior() -> None:
    model = models.LinearGaussian(2, 3)
    x = model.sample(2)
    draws = Predictive(model, guide=lv.guides.LookaheadGuide(model), num_samples=800)(x)["z"]
    trace = pyro.poutine.trace(model.posterior).get_trace(x)
    posterior = trace.nodes["z"]["fn"]
    assert_within_standard_errors(
        draws.mean(0), posterior.mean, posterior.variance.sqrt() / len(draws) ** 0.5
    )


def test_the_gradient_is_fishers() -> None:
    """Against the exact gradient of the evidence, by autograd through the transfer matrices."""
    model = chain(3, scale=0.3)
    x = draw_data(model, 2)
    weight = model.generator.layers[0].coefficients
    (exact,) = torch.autograd.grad(normal_evidence_of(model, x), weight)
    gradients = []
    for _ in range(60):
        total, _ = lv.evidence.Lookahead(256).log_evidence(bind(model, x), None)
        gradients.append(torch.autograd.grad(total, weight)[0])
    stacked = torch.stack(gradients)
    error = stacked.std(0) / len(stacked) ** 0.5
    moved = exact.abs() > 1e-3
    # Self-normalised weights are biased by about 1 / S; a node's cell is coarse by as much.
    assert_within_standard_errors(stacked.mean(0)[moved], exact[moved], error[moved], extra=0.02)


def normal_evidence_of(model: lv.LVKAM, x: Tensor) -> Tensor:
    """The exact total for three latents, by a tensor of nodes with gradients."""
    nodes = (torch.arange(48, dtype=torch.float64) + 0.5) / 48
    grid = torch.cartesian_prod(nodes, nodes, nodes)
    log_prior = model.prior().log_prob(grid).detach()
    log_likelihood = model.likelihood(model.generator(grid)[:, None]).log_prob(x)
    return (log_prior[:, None] + log_likelihood).logsumexp(0).sum()


def test_equal_seeds_give_equal_evidence(fitted: tuple[lv.LVKAM, Tensor]) -> None:
    model, x = fitted
    before = torch.get_rng_state()
    first, second = (lv.evidence.Lookahead(256).estimate(model, x, seed=3) for _ in range(2))
    assert torch.equal(first.log_evidence, second.log_evidence)
    assert torch.equal(before, torch.get_rng_state())


def test_blocks_of_data_do_not_change_the_law(
    fitted: tuple[lv.LVKAM, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = fitted
    monkeypatch.setattr("lvkam_pyro.evidence.lookahead._MAX_LOGITS", 1)
    evidence = lv.evidence.Lookahead(512, num_replicates=64).estimate(model, x)
    assert_within_standard_errors(
        evidence.log_evidence,
        exact_log_evidence(model, x),
        evidence.standard_error,
        extra=evidence.discretization_error,
    )


def test_too_few_nodes_are_noticed(fitted: tuple[lv.LVKAM, Tensor]) -> None:
    model, x = fitted
    model.likelihood.set_scale(torch.full((4,), 0.01, dtype=torch.float64))
    evidence = lv.evidence.Lookahead(256, num_nodes=12).estimate(model, x)
    assert "discretisation error" in str(evidence.verdict)


@pytest.mark.slow
def test_standard_errors_are_calibrated() -> None:
    model = chain(8, scale=0.1)
    x = draw_data(model, 10)
    exact = exact_log_evidence(model, x)
    scores = []
    for seed in range(40):
        evidence = lv.evidence.Lookahead(512, num_replicates=32).estimate(model, x, seed=seed)
        good = ~evidence.verdict.unreliable
        scores.append(((evidence.log_evidence - exact) / evidence.standard_error)[good])
    z = torch.cat(scores)
    assert len(z) >= 200
    assert 0.8 < z.square().mean().sqrt() < 1.3


BAD = {
    "no particle": (lambda: lv.evidence.Lookahead(0), ValueError, "num_particles"),
    "one island": (
        lambda: lv.evidence.Lookahead(8, num_replicates=1),
        ValueError,
        "num_replicates",
    ),
    "no node": (lambda: lv.evidence.Lookahead(num_nodes=0), ValueError, "num_nodes"),
    "guide of no particle": (
        lambda: lv.guides.LookaheadGuide(models.two_sites, num_particles=0),
        ValueError,
        "num_particles",
    ),
    "half a particle": (lambda: lv.evidence.Lookahead(0.5), TypeError, "num_particles"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name: str) -> None:
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


def test_a_population_scores_its_own_draws_alone() -> None:
    x = torch.zeros(2)
    guide = lv.guides.LookaheadGuide(models.two_sites)
    trace = pyro.poutine.trace(guide).get_trace(x)
    law = trace.nodes["_population"]["fn"]
    with pytest.raises(RuntimeError, match="own draws alone"):
        law.log_prob(trace.nodes["_population"]["value"] + 1)


def test_islands_of_a_population_guide_are_independent(
    fitted: tuple[lv.LVKAM, Tensor],
) -> None:
    """Resampled inside one call, all islands would share one evidence and have no error."""
    model, x = fitted
    guide = lv.guides.LookaheadGuide(model, num_particles=64)
    evidence = lv.evidence.Importance(512, num_replicates=64).estimate(model, x, guide=guide)
    assert (evidence.standard_error > 1e-4).all()
    assert_within_standard_errors(
        evidence.log_evidence, exact_log_evidence(model, x), evidence.standard_error
    )
