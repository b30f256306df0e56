"""Quasi-Monte Carlo: exact laws of the draws, small errors, honest ones."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.evidence.importance import Importance
from lvkam_pyro.evidence.quasi_monte_carlo import QuasiMonteCarlo, _sobol
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.inverse_transform import InverseTransform
from tests.assertions import assert_within_standard_errors
from tests.tracing import models

WIDER = 1.6
"""Student's tail of 16 scrambles over the normal one, at the suite's rate."""


def assert_matches(evidence: lv.evidence.Evidence, exact: Tensor) -> None:
    # Single precision leaves an error of its own.
    error = WIDER * evidence.standard_error
    assert_within_standard_errors(evidence.log_evidence, exact.double(), error, extra=1e-5)


def test_the_points_avoid_the_ends_and_fill_the_cube() -> None:
    points = _sobol(3, 2**12)
    assert points.dtype == torch.float64
    assert float(points.min()) > 0
    assert float(points.max()) < 1
    # Half-way between the engine's numbers, 0 among them.
    assert ((points * 2**31) % 2 == 1).all()
    # One point in each of the equal cells, in every coordinate.
    cells = (points * 2**12).floor().long().sort(0).values
    assert torch.equal(cells, torch.arange(2**12)[:, None].expand(-1, 3))


@pytest.mark.parametrize("num_latents", [1, 2, 4])
def test_far_below_plain_sampling(num_latents: int) -> None:
    model = models.LinearGaussian(num_latents, 4)
    x = model.sample(10)
    quasi = QuasiMonteCarlo().estimate(model, x)
    plain = Importance().estimate(model, x)
    assert_matches(quasi, model.exact(x))
    gain = {1: 10, 2: 5, 4: 1.3}[num_latents]
    assert float(plain.standard_error.mean()) > gain * float(quasi.standard_error.mean())


def test_on_top_of_a_guide() -> None:
    model = models.LinearGaussian(3, 4)
    x = model.sample(6)
    evidence = QuasiMonteCarlo(512).estimate(model, x, guide=model.posterior)
    torch.testing.assert_close(evidence.log_evidence, model.exact(x), atol=1e-4, rtol=0)


def test_on_top_of_an_amortized_guide() -> None:
    model = models.LinearGaussian(2, 4)
    x = model.sample(6)
    guide = lv.AmortizedGuide(model, x, hidden=(8,))
    assert_matches(QuasiMonteCarlo().estimate(model, x, guide=guide), model.exact(x))


def test_an_lvkam() -> None:
    model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
    with torch.no_grad():
        x = pyro.poutine.uncondition(model)(torch.empty(5, 3))
    quadrature = lv.evidence.Quadrature().estimate(model, x)
    assert_matches(QuasiMonteCarlo().estimate(model, x), quadrature.log_evidence)


ONES = torch.ones(4)
FORMS: dict[str, tuple[Callable[[Tensor], None], Tensor, Tensor]] = {
    "two sites": (models.two_sites, ONES, models.normal_evidence(ONES, 4.0)),
    "minibatch": (models.with_plate_total, ONES, models.normal_evidence(ONES, 2.0)),
    "fixed plate": (models.with_fixed_plate, ONES, models.normal_evidence(ONES, 2.0)),
    "covariates": (
        models.with_covariates,
        torch.tensor([[0.5, 1.0], [2.0, 2.0]]),
        models.normal_evidence(torch.tensor([0.5, 0.0]), 2.0),
    ),
    "inner latents": (
        models.with_inner_latents,
        torch.linspace(-1, 1, 12).reshape(4, 3),
        dist.MultivariateNormal(
            torch.zeros(3), 2 * torch.ones(3, 3) + 2 * torch.eye(3)
        ).log_prob(torch.linspace(-1, 1, 12).reshape(4, 3)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_models_of_many_forms(form: str) -> None:
    model, x, exact = FORMS[form]
    assert_matches(QuasiMonteCarlo().estimate(model, x), exact)


def test_latents_that_depend_on_each_other() -> None:
    x = torch.tensor([0.0, 1.0])
    quasi = QuasiMonteCarlo().estimate(models.with_bounds, x)
    plain = Importance(200_000).estimate(models.with_bounds, x)
    error = torch.hypot(quasi.standard_error, plain.standard_error)
    assert_within_standard_errors(quasi.log_evidence, plain.log_evidence, error)


def test_draws_have_the_programs_law() -> None:
    def program(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
            z = pyro.sample("z", dist.Normal(torch.zeros(2), scale[..., None]).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    x = torch.zeros(2)
    uniforms = torch.tensor([[0.3, 0.5, 0.9]]).double()
    structure = bind(program, x).structure
    with InverseTransform(uniforms, structure), pyro.plate("_particles", 1, dim=-2):
        trace = pyro.poutine.trace(program).get_trace(x)
    scale = dist.LogNormal(0.0, 1.0).icdf(torch.tensor(0.3).double())
    expected = torch.stack([scale * 0, scale * dist.Normal(0.0, 1.0).icdf(uniforms[0, 2])])
    torch.testing.assert_close(trace.nodes["scale"]["value"][0], scale.expand(2), check_dtype=False)
    torch.testing.assert_close(
        trace.nodes["z"]["value"][0], expected.expand(2, 2), check_dtype=False
    )


def test_few_effective_points_are_flagged() -> None:
    model = models.LinearGaussian(6, 8, scale=0.05)
    evidence = QuasiMonteCarlo(1024).estimate(model, model.sample(3))
    assert evidence.verdict.unreliable.all()
    assert any("of a scramble" in reason for reason in evidence.verdict.reasons)


def test_a_law_without_an_inverse() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(2.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ValueError, match="'z' draws from Gamma, which has no inverse"):
        QuasiMonteCarlo(64).estimate(model, torch.zeros(2))


def test_wrong_counts() -> None:
    with pytest.raises(ValueError, match="num_scrambles >= 8, but got 4"):
        QuasiMonteCarlo(num_scrambles=4)
    with pytest.raises(ValueError, match="num_points >= 1"):
        QuasiMonteCarlo(0)
    with pytest.raises(ValueError, match="at most 21201 coordinates"):
        _sobol(30_000, 2)
