"""Guides that draw populations, under one contract: exact posteriors, weights that count once."""

from collections.abc import Callable
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Predictive, Trace_ELBO
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.guides.population import PopulationGuide, no_handlers
from tests.assertions import assert_within_standard_errors
from tests.tracing import models

Build = Callable[[object], PopulationGuide]


def importance(model: object, **options: object) -> lv.guides.ImportanceGuide:
    options = {"num_particles": 200, "smooth": False, **options}
    return lv.guides.ImportanceGuide(model, lv.PriorGuide(model), **options)


GUIDES: dict[str, Build] = {
    "importance": importance,
    "importance, always resampled": partial(importance, threshold=1.0),
    "importance, never resampled": partial(importance, threshold=0.0),
    "importance, multinomial": partial(importance, resampler=lv.statistics.resample_multinomial),
    "importance, smoothed": partial(importance, smooth=True),
    "rejection": lv.guides.RejectionGuide,
    "lookahead": partial(lv.guides.LookaheadGuide, num_particles=32),
}
OF_ANY_MODEL = {name: build for name, build in GUIDES.items() if name != "lookahead"}


def every_guide(test: object) -> object:
    return pytest.mark.parametrize("build", GUIDES.values(), ids=GUIDES)(test)


def every_general_guide(test: object) -> object:
    return pytest.mark.parametrize("build", OF_ANY_MODEL.values(), ids=OF_ANY_MODEL)(test)


@pytest.fixture
def linear() -> tuple[models.LinearGaussian, Tensor]:
    model = models.LinearGaussian(2, 2, scale=1.0)
    return model, model.sample(3)


@every_guide
def test_predictive_draws_are_the_posteriors(
    build: Build, linear: tuple[models.LinearGaussian, Tensor]
) -> None:
    model, x = linear
    # Each call is one draw from a population of its own: they are independent.
    draws = Predictive(model, guide=build(model), num_samples=400)(x)["z"].double()
    posterior = pyro.poutine.trace(model.posterior).get_trace(x).nodes["z"]["fn"]
    mean, deviation = posterior.mean.double(), posterior.variance.sqrt().double()
    error = len(draws) ** -0.5
    # Self-normalised weights are biased by about a variance of the weights over the particles.
    bias = 0.03
    assert_within_standard_errors((draws - mean).mean(0) / deviation, 0 * mean, error, extra=bias)
    squares = ((draws - mean) / deviation).square().mean(0)
    assert_within_standard_errors(squares, 0 * mean + 1, 2**0.5 * error, extra=bias)


@every_guide
@pytest.mark.parametrize("num_draws", [4, 250])
def test_the_mean_weight_is_the_evidence(
    build: Build, linear: tuple[models.LinearGaussian, Tensor], num_draws: int
) -> None:
    model, x = linear
    guide = build(model)
    runs = [
        lv.draw_particles(model, guide, x, num_particles=num_draws).log_evidence for _ in range(80)
    ]
    ratio = (torch.stack(runs).double() - model.exact(x)).exp()
    error = ratio.std(0) / len(ratio) ** 0.5
    # 80 runs measure their own error; what is left are quadrature nodes and single precision.
    assert_within_standard_errors(ratio.mean(0), 0 * x[:, 0].double() + 1, 1.2 * error, extra=2e-3)


@every_general_guide
@pytest.mark.parametrize(
    ("model", "x", "shapes"),
    [
        (models.two_sites, torch.zeros(4), {"a": (), "b": (2,)}),
        (models.with_deterministic, torch.zeros(4), {"z": ()}),
        (models.with_inner_plate, torch.zeros(4, 3), {"z": ()}),
        (models.with_plate_total, torch.zeros(4), {"z": ()}),
        (models.with_covariates, torch.zeros(4, 2), {"z": ()}),
        (models.with_fixed_plate, torch.zeros(4), {"z": ()}),
        (models.with_bounds, torch.zeros(4), {"scale": (), "u": ()}),
    ],
)
def test_shapes_of_many_models(
    build: Build, model: object, x: Tensor, shapes: dict[str, tuple[int, ...]]
) -> None:
    particles = lv.draw_particles(model, build(model), x, num_particles=5)
    assert {name: value.shape for name, value in particles.latents.items()} == {
        name: (5, 4, *shape) for name, shape in shapes.items()
    }
    assert particles.log_weights.shape == (5, 4)
    assert particles.log_weights.isfinite().all()


@every_general_guide
def test_a_prior_that_depends_on_the_datum(build: Build) -> None:
    x = torch.tensor([[0.0, 0.5], [0.5, 1.0]])
    draws = Predictive(models.with_covariates, guide=build(models.with_covariates), num_samples=300)
    z = draws(x)["z"].double()
    exact = x.double().mean(-1)
    assert_within_standard_errors(z.mean(0), exact, (0.5 / 300) ** 0.5, extra=0.02)


class Scaled(pyro.nn.PyroModule):
    """x ~ N(a z, 1): log p(x) = log N(x; 0, 1 + a^2)."""

    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(self.a * z, 1.0), obs=x)


@every_guide
def test_training_on_the_draws_follows_the_evidence(build: Build) -> None:
    model, x = Scaled(), torch.tensor([1.5, -0.5, 0.3])
    exact = -dist.Normal(0.0, (1 + model.a**2).sqrt()).log_prob(x).sum()
    (slope,) = torch.autograd.grad(exact, model.a)
    objective = lv.EmpiricalBayes(num_particles=8)(model, build(model))
    slopes = torch.stack([torch.autograd.grad(objective(x), model.a)[0] for _ in range(150)])
    error = slopes.std() / len(slopes) ** 0.5
    assert_within_standard_errors(slopes.mean(), slope, error, extra=0.03 * slope.abs())


@every_guide
def test_pyros_elbo_takes_it(build: Build, linear: tuple[models.LinearGaussian, Tensor]) -> None:
    model, x = linear
    guide = build(model)
    loss = sum(Trace_ELBO().loss(model, guide, x) for _ in range(20)) / 20
    assert loss == pytest.approx(-float(model.exact(x).sum()), abs=0.5)


@every_guide
def test_islands_are_independent_populations(
    build: Build, linear: tuple[models.LinearGaussian, Tensor]
) -> None:
    model, x = linear
    evidence = lv.evidence.Importance(600, num_replicates=30).estimate(model, x, guide=build(model))
    assert_within_standard_errors(
        evidence.log_evidence, model.exact(x), 1.4 * evidence.standard_error, extra=2e-3
    )


def test_evaluations_behind_the_draws_count(
    linear: tuple[models.LinearGaussian, Tensor],
) -> None:
    model, x = linear
    guide = importance(model, num_particles=200)
    evidence = lv.evidence.Importance(100, num_replicates=10).estimate(model, x, guide=guide)
    assert evidence.num_likelihood_evaluations == 100 + 10 * 200


@every_guide
def test_a_population_scores_its_own_draws_alone(
    build: Build, linear: tuple[models.LinearGaussian, Tensor]
) -> None:
    model, x = linear
    site = pyro.poutine.trace(build(model)).get_trace(x).nodes["_population"]
    assert site["fn"].log_prob(site["value"]).shape == (3,)
    with pytest.raises(RuntimeError, match="own draws alone"):
        site["fn"].log_prob(site["value"] + 1)


@every_general_guide
def test_latents_in_further_plates_are_drawn(build: Build) -> None:
    model = models.with_inner_latents
    particles = lv.draw_particles(model, build(model), torch.zeros(4, 3), num_particles=500)
    shapes = {name: tuple(value.shape) for name, value in particles.latents.items()}
    assert shapes == {"z": (500, 4, 2), "e": (500, 4, 3)}
    covariance = 2 * torch.ones(3, 3) + 2 * torch.eye(3)
    exact = dist.MultivariateNormal(torch.zeros(3), covariance).log_prob(torch.zeros(3))
    # The prior's draws fall short of this posterior by at most this many effective ones.
    assert_within_standard_errors(particles.log_evidence, exact.expand(4), torch.tensor(0.07))


@every_general_guide
def test_subsamples_that_the_plate_draws_stand_for_all_data(build: Build) -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), subsample_size=2) as rows:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[rows])

    particles = lv.draw_particles(model, build(model), torch.zeros(4), num_particles=5)
    assert (particles.num_units, particles.data_scale) == (2, 2.0)


def test_programs_apart_leave_the_plates_around_them() -> None:
    with pyro.plate("data", 4, dim=-1):
        with (
            pytest.raises(RuntimeError, match="inside"),
            no_handlers(),
            pyro.plate("data", 2, dim=-1),
        ):
            raise RuntimeError("inside")
        with pytest.raises(ValueError, match="duplicate plate"), pyro.plate("data", 4):
            pass
        assert pyro.sample("z", dist.Normal(0.0, 1.0)).shape == (4,)
