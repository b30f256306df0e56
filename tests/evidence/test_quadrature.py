"""Quadrature: against closed forms, scipy, and itself in double precision."""

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.additive.cells import prior_cells
from lvkam_pyro.additive.coordinates import LatentCoordinates
from lvkam_pyro.evidence.boxes import Boxes, tensor_rule
from lvkam_pyro.evidence.cubature import Cubature
from lvkam_pyro.evidence.quadrature import Quadrature
from lvkam_pyro.tracing.bind import bind
from tests.evidence.test_agreement import learned_lvkam, quadrature_of_lvkam
from tests.tracing import models

GOAL = 1e-4
"""Nats."""


def double_edges(num_coordinates: int, cells: int = 4) -> list[Tensor]:
    return [torch.linspace(-8, 8, cells + 1, dtype=torch.float64)] * num_coordinates


def gaussian(scale: float, centre: float = 0.3) -> Callable[[Tensor, Tensor], Tensor]:
    """A normal density for each datum, at places that differ, narrower in the first coordinate."""

    def log_density(z: Tensor, data: Tensor) -> Tensor:
        scales = torch.ones(z.shape[-1], dtype=z.dtype)
        scales[0] = scale
        return dist.Normal(centre * data[:, None].double(), scales).log_prob(z).sum(-1)

    return log_density


@pytest.mark.parametrize("num_coordinates", [1, 2, 3])
def test_the_rule_is_exact_for_polynomials(num_coordinates: int) -> None:
    nodes, weights = tensor_rule(torch.zeros(num_coordinates).double())
    assert float(weights.sum()) == pytest.approx(1.0)
    assert float((weights * nodes.pow(7).prod(-1)).sum()) == pytest.approx(8.0**-num_coordinates)


def test_halved_boxes_fill_the_box() -> None:
    boxes = Boxes.between(double_edges(2, cells=1), num_data=2).halve()
    assert boxes.datum.tolist() == [0] * 4 + [1] * 4
    assert float(boxes.width.prod(-1).sum()) == pytest.approx(2 * 256.0)
    assert sorted(map(tuple, boxes.low[:4].tolist())) == [(-8, -8), (-8, 0), (0, -8), (0, 0)]


@pytest.mark.parametrize(("num_coordinates", "scale"), [(1, 1e-4), (2, 0.02), (3, 0.3)])
def test_a_narrow_peak_is_found(num_coordinates: int, scale: float) -> None:
    cubature = Cubature(gaussian(scale), num_data=3, num_values=4)
    integral = cubature.integrate(double_edges(num_coordinates))
    assert (integral.log_total.abs() <= integral.error).all()
    assert (integral.error < 1e-4).all()
    assert (integral.num_evaluations > 0).all()


def test_distant_peaks_are_both_found() -> None:
    def two(z: Tensor, data: Tensor) -> Tensor:
        peaks = dist.Normal(torch.tensor([-5.123, 4.321]), 0.002).log_prob(z)
        return peaks.logsumexp(-1) - math.log(2)

    integral = Cubature(two, num_data=1, num_values=1).integrate(double_edges(1))
    assert abs(float(integral.log_total)) < 1e-6


def test_memory_bounds_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    cubature = Cubature(gaussian(0.05), num_data=4, num_values=4)
    whole = cubature.integrate(double_edges(2))
    monkeypatch.setattr("lvkam_pyro.evidence.cubature._MAX_ELEMENTS", 2000)
    parts = cubature.integrate(double_edges(2))
    torch.testing.assert_close(whole.log_total, parts.log_total, rtol=0, atol=1e-12)
    assert torch.equal(whole.num_evaluations, parts.num_evaluations)


def test_a_spent_budget_is_said() -> None:
    cubature = Cubature(gaussian(1e-3), num_data=1, num_values=1, max_evaluations=500)
    integral = cubature.integrate(double_edges(2))
    assert float(integral.error) > 0.1


@pytest.mark.parametrize("num_latents", [1, 2, 3])
def test_linear_gaussian(num_latents: int) -> None:
    model = models.LinearGaussian(num_latents, 4)
    x = model.sample(3)
    evidence = Quadrature().estimate(model, x)
    assert evidence.verdict.reliable, str(evidence)
    assert evidence.discretization_error is not None
    assert (evidence.discretization_error < GOAL).all()
    torch.testing.assert_close(evidence.log_evidence, model.exact(x), rtol=0, atol=1e-5)
    assert evidence.standard_error.eq(0).all()
    assert evidence.total_standard_error == 0


@pytest.mark.parametrize("scale", [0.3, 0.01])
def test_an_lvkam_of_small_noise(scale: float) -> None:
    model = lv.LVKAM(
        lv.MixturePrior(2, num_components=2),
        lv.KANGenerator(2, 5),
        lv.NormalLikelihood(5, scale=scale),
    )
    with torch.no_grad():
        for parameter in (*model.prior.parameters(), *model.generator.parameters()):
            parameter.add_(0.7 * torch.randn_like(parameter))
        x = pyro.poutine.uncondition(model)(torch.empty(4, 5))
    single = Quadrature().estimate(model, x)
    double = Quadrature(tolerance=1e-8).estimate(model.double(), x.double())
    assert single.verdict.reliable, str(single)
    torch.testing.assert_close(single.log_evidence, double.log_evidence, rtol=0, atol=GOAL)
    assert single.num_likelihood_evaluations < double.num_likelihood_evaluations


def test_a_deep_lvkam_against_the_plain_tensor_rule() -> None:
    model = learned_lvkam()
    with torch.no_grad():
        x = pyro.poutine.uncondition(model)(torch.empty(5, 4))
    evidence = Quadrature().estimate(model, x)
    expected = quadrature_of_lvkam(model, x)
    torch.testing.assert_close(evidence.log_evidence, expected, rtol=0, atol=GOAL)


def counts(x: Tensor) -> None:
    """Poisson counts of a rate exp(z): no normal likelihood."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Poisson(z.exp()), obs=x)


def student(x: Tensor) -> None:
    """Heavy tails on both sides, and no inverse distribution function."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.StudentT(3.0, 0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 0.1), obs=x)


def test_other_likelihoods_and_priors() -> None:
    x = torch.tensor([0.0, 3.0, 20.0])
    grid = torch.linspace(-9, 9, 200_001, dtype=torch.float64)
    log_joint = dist.Normal(0.0, 1.0).log_prob(grid) + dist.Poisson(grid.exp()).log_prob(x[:, None])
    expected = log_joint.logsumexp(-1) + math.log(18 / 200_000)
    evidence = Quadrature().estimate(counts, x)
    torch.testing.assert_close(evidence.log_evidence, expected, rtol=0, atol=1e-5)
    grid = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
    log_joint = dist.StudentT(3.0).log_prob(grid) + dist.Normal(grid, 0.1).log_prob(x[:, None])
    expected = log_joint.logsumexp(-1) + math.log(80 / 400_000)
    evidence = Quadrature().estimate(student, x)
    torch.testing.assert_close(evidence.log_evidence, expected, rtol=0, atol=1e-4)


def test_a_posterior_far_in_the_tail_of_the_prior() -> None:
    x = torch.tensor([0.0, 30.0])
    evidence = Quadrature().estimate(models.with_factor, x)
    expected = models.normal_evidence(x, 2.0).double()
    torch.testing.assert_close(evidence.log_evidence, expected, rtol=1e-5, atol=1e-5)
    far = Quadrature().estimate(models.with_factor, torch.tensor([0.0, 500.0]))
    assert far.verdict.unreliable.tolist() == [False, True]


def test_a_half_impossible_and_an_impossible_datum() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(0.0, 1.0))
            pyro.factor("window", torch.where(z < x, 0.0, -torch.inf))

    evidence = Quadrature().estimate(model, torch.tensor([0.3, -1.0, 2.0]))
    error = evidence.discretization_error
    assert error is not None
    assert abs(float(evidence.log_evidence[0]) - math.log(0.3)) <= float(error[0])
    assert evidence.log_evidence[1] == -torch.inf
    assert float(evidence.log_evidence[2]) == pytest.approx(0.0, abs=1e-6)
    assert evidence.verdict.unreliable.tolist()[1:] == [True, False]
    assert not any(value.isnan().any() for value in evidence.diagnostics.values())


def test_a_minibatch() -> None:
    x = torch.linspace(-1, 1, 4)
    evidence = Quadrature().estimate(models.with_plate_total, x)
    expected = models.normal_evidence(x, 2.0).double()
    torch.testing.assert_close(evidence.log_evidence, expected, rtol=0, atol=1e-6)
    assert evidence.data_scale == 25.0


def test_blocks_of_data_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.linspace(-1, 1, 5)
    whole = Quadrature().estimate(models.with_plate_total, x)
    monkeypatch.setattr("lvkam_pyro.tracing.program._MAX_VALUES", 50 * 2**10)
    blocks = Quadrature().estimate(models.with_plate_total, x)
    torch.testing.assert_close(whole.log_evidence, blocks.log_evidence)
    assert whole.data_scale == pytest.approx(blocks.data_scale)


def test_the_cells_follow_the_priors_knots() -> None:
    prior = lv.MixturePrior(2, basis=lv.BSplineBasis(grid_size=5))
    model = lv.LVKAM(prior, lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
    x = torch.rand(2, 3)
    coordinates = LatentCoordinates.of(bind(model, x))
    cells = prior_cells(coordinates, 10)
    knots = torch.linspace(0, 1, 6).double()
    for edges in cells.edges:
        assert len(edges) == 11
        assert (edges[:, None] - knots).abs().amin(0).max() < 1e-6
    assert (cells.low_end == -torch.inf).all()


def test_the_gradient_is_fishers() -> None:
    shift = torch.tensor(0.5, requires_grad=True)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + shift, 1.0), obs=x)

    x = torch.linspace(-1, 2, 5)
    total, scale = Quadrature().log_evidence(bind(model, x), None)
    (gradient,) = torch.autograd.grad(total, shift)
    expected = ((x - 0.5) / 2).sum()
    # Posterior deviations of 0.7, 256 draws, 5 data.
    assert abs(float(gradient - expected)) < 5 * 0.7 * 5**0.5 / 16
    assert float(total.detach()) == pytest.approx(
        float(dist.Normal(0.5, 2**0.5).log_prob(x).sum()), abs=1e-5
    )
    assert scale == 1.0


def test_scipy_agrees_that_the_exact_form_is_right() -> None:
    """The yardstick itself: log N(1; 0, 2)."""
    assert float(models.normal_evidence(torch.ones(1), 2.0)) == pytest.approx(
        norm.logpdf(1, 0, 2**0.5), abs=1e-6
    )


WRONG = [
    (ValueError, lambda: Quadrature(tolerance=0.0), "tolerance > 0, but got 0.0"),
    (TypeError, lambda: Quadrature(max_evaluations=1.5), "max_evaluations to be an int"),
    (
        ValueError,
        lambda: Quadrature().estimate(models.LinearGaussian(4, 2), torch.zeros(2, 2)),
        "1 to 3 latent coordinates of a datum, but the model has 4. Use Quasi",
    ),
    (
        ValueError,
        lambda: Quadrature().estimate(models.with_bounds, torch.zeros(3)),
        "depends on another latent or on the datum",
    ),
    (
        ValueError,
        lambda: Quadrature().estimate(models.with_covariates, torch.eye(2)),
        "depends on another latent or on the datum",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("error", "call", "match"), WRONG)
def test_wrong_input(error: type[Exception], call: Callable[[], object], match: str) -> None:
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize("size", [1, 2])
def test_an_edge_between_the_nodes_of_two_boxes_is_seen(size: int) -> None:
    """Wherever a half space begins: all nodes of a box may lie on one side, and its face not."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(size), 1.0).to_event(1))
            pyro.factor("window", torch.where(z.sum(-1) > size**0.5 * x, 0.0, -torch.inf))

    x = torch.linspace(-2.5, 2.5, 201 if size == 1 else 3, dtype=torch.float64)
    evidence = lv.evidence.Quadrature().estimate(model, x)
    assert evidence.discretization_error is not None
    error = evidence.log_evidence - dist.Normal(0.0, 1.0).cdf(-x).log()
    assert bool((error.abs() < evidence.discretization_error + 1e-6).all())
    assert evidence.verdict.reliable
