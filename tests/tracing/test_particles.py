"""Per-datum log densities of models of many forms, against closed forms and Pyro's own traces."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind, draw_particles
from lvkam_pyro.tracing.particles import Particles
from lvkam_pyro.tracing.prior_guide import PriorGuide
from tests.assertions import assert_within_standard_errors
from tests.tracing import models

VECTOR = torch.linspace(-1, 1, 4)
MATRIX = torch.linspace(-1, 1, 12).reshape(4, 3)
PAIRS = torch.tensor([[0.3, 0.8], [-0.5, -1.0], [1.2, 0.1], [0.0, -0.2]])


def multivariate(x: Tensor, covariance: Tensor) -> Tensor:
    return dist.MultivariateNormal(torch.zeros(len(covariance)), covariance).log_prob(x)


def masked_evidence(x: Tensor) -> Tensor:
    both = multivariate(x, torch.ones(2, 2) + torch.eye(2))
    return torch.where(x[:, 1] > 0, both, models.normal_evidence(x[:, 0], 2.0))


def doubled_evidence(x: Tensor) -> Tensor:
    # N(x; z, 1)^2 = N(x; z, 1/2) / (2 sqrt(pi)).
    return models.normal_evidence(x, 1.5) - torch.tensor(4 * torch.pi).log() / 2


FORMS: dict[str, tuple[Callable[[Tensor], None], Tensor, Tensor]] = {
    "two sites": (models.two_sites, VECTOR, models.normal_evidence(VECTOR, 4.0)),
    "factor": (models.with_factor, VECTOR, models.normal_evidence(VECTOR, 2.0)),
    "deterministic": (models.with_deterministic, VECTOR, models.normal_evidence(VECTOR, 5.0)),
    "inner plate": (
        models.with_inner_plate, MATRIX, multivariate(MATRIX, torch.ones(3, 3) + torch.eye(3)),
    ),
    "inner latents": (
        models.with_inner_latents,
        MATRIX,
        multivariate(MATRIX, 2 * torch.ones(3, 3) + 2 * torch.eye(3)),
    ),
    "user scale": (models.with_user_scale, VECTOR, doubled_evidence(VECTOR)),
    "plate total": (models.with_plate_total, VECTOR, models.normal_evidence(VECTOR, 2.0)),
    "obs_mask": (models.with_obs_mask, PAIRS, masked_evidence(PAIRS)),
    "covariates": (
        models.with_covariates, PAIRS, models.normal_evidence(PAIRS[:, 1] - PAIRS[:, 0], 2.0),
    ),
    "fixed plate": (models.with_fixed_plate, VECTOR, models.normal_evidence(VECTOR, 2.0)),
}  # fmt: skip


def assert_evidence_matches(particles: Particles, exact: Tensor) -> None:
    weights = (particles.log_weights - exact).double().exp()
    error = weights.std(0) / particles.num_particles**0.5
    assert_within_standard_errors(weights.mean(0), torch.ones_like(error), error)


@pytest.mark.parametrize("form", FORMS)
def test_prior_particles_estimate_the_evidence(form: str) -> None:
    model, x, exact = FORMS[form]
    assert_evidence_matches(draw_particles(model, PriorGuide(model), x, num_particles=4000), exact)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "obs_mask"])
def test_a_mean_field_guide_estimates_the_evidence(form: str) -> None:
    model, x, exact = FORMS[form]
    guide = pyro.infer.autoguide.AutoNormal(model, init_scale=1.0)
    guide(x)
    with torch.no_grad():
        assert_evidence_matches(draw_particles(model, guide, x, num_particles=4000), exact)


@pytest.mark.parametrize("form", FORMS)
def test_the_sum_over_the_data_is_pyros_total(form: str) -> None:
    model, x, _ = FORMS[form]
    particles = draw_particles(model, ByHand(model), x, num_particles=1)
    structure = bind(model, x).structure
    values = {
        site.name: structure.to_pyro(particles.latents[site.name], site).squeeze(0)
        for site in structure.latents
    }
    trace = pyro.poutine.trace(pyro.poutine.condition(model, data=values)).get_trace(x)
    total = particles.log_joint.sum() * particles.data_scale
    torch.testing.assert_close(total, trace.log_prob_sum())


class ByHand:
    """A guide that draws for each datum: the prior itself, seen as any other program."""

    def __init__(self, model: Callable[[Tensor], None]) -> None:
        self.prior = PriorGuide(model)

    def __call__(self, x: Tensor) -> None:
        self.prior(x)


def test_shapes_and_sharing() -> None:
    model = models.LinearGaussian(2, 5)
    x = model.sample(7)
    shared = draw_particles(model, PriorGuide(model), x, num_particles=3)
    own = draw_particles(model, model.posterior, x, num_particles=3)
    assert shared.latents["z"].shape == (3, 1, 2)
    assert own.latents["z"].shape == (3, 7, 2)
    for particles in (shared, own):
        assert particles.log_weights.shape == (3, 7)
        assert (particles.num_particles, particles.num_units) == (3, 7)


def test_inner_plates_follow_the_data_axis() -> None:
    model, x, _ = FORMS["inner latents"]
    own = draw_particles(model, ByHand(model), x, num_particles=5)
    assert own.latents["z"].shape == (5, 4, 2)
    assert own.latents["e"].shape == (5, 4, 3)


def test_the_exact_posterior_has_constant_weights() -> None:
    model = models.LinearGaussian(2, 5)
    x = model.sample(7)
    particles = draw_particles(model, model.posterior, x, num_particles=3)
    torch.testing.assert_close(
        particles.log_weights.double(), model.exact(x).expand(3, 7), atol=1e-4, rtol=0
    )


def test_the_total_is_scaled_to_the_plate() -> None:
    particles = draw_particles(
        models.with_plate_total, PriorGuide(models.with_plate_total), VECTOR, num_particles=2
    )
    assert particles.data_scale == 25.0


def test_a_subsample_drawn_by_the_plate() -> None:
    x = torch.linspace(-1, 1, 10)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), subsample_size=min(3, len(x))) as index:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[index])

    for guide in (PriorGuide(model), ByHand(model)):
        particles = draw_particles(model, guide, x, num_particles=4)
        assert particles.log_weights.shape == (4, 3)
        assert particles.data_scale == pytest.approx(10 / 3)


def test_gradients_reach_model_and_guide_but_not_the_prior_as_a_proposal() -> None:
    loc = torch.zeros(2, requires_grad=True)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x + 2 * loc, 1.0).to_event(1))

    x = torch.ones(3, 2)
    learned = draw_particles(model, guide, x, num_particles=4)
    assert learned.latents["z"].requires_grad
    assert learned.log_guide.requires_grad
    prior = draw_particles(model, PriorGuide(model), x, num_particles=4)
    assert prior.log_prior.requires_grad
    assert not prior.log_guide.requires_grad
    assert not prior.latents["z"].requires_grad


def test_the_prior_guide_serves_pyros_own_elbo() -> None:
    model = models.LinearGaussian(2, 5)
    x = model.sample(7)
    pyro.infer.Trace_ELBO(num_particles=3, vectorize_particles=True).loss(
        model, PriorGuide(model), x
    )
    losses = [pyro.infer.Trace_ELBO().loss(model, PriorGuide(model), x) for _ in range(2)]
    assert min(losses) > -float(model.exact(x).sum())


def test_the_prior_guide_stops_before_the_likelihood() -> None:
    calls = []

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            calls.append(len(x))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    program = bind(model, VECTOR)
    calls.clear()
    program.draw(PriorGuide(model), 2)
    assert calls == [4]


def test_the_structure_leaves_the_generator_alone() -> None:
    before = torch.get_rng_state()
    bind(models.two_sites, VECTOR)
    assert torch.equal(before, torch.get_rng_state())


def test_double_precision_is_kept() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=x.dtype), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    particles = draw_particles(model, PriorGuide(model), VECTOR.double(), num_particles=2)
    assert particles.log_weights.dtype == torch.float64


def no_observation(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.0, 1.0))


def no_plate(x: Tensor) -> None:
    z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
    pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def global_latent(x: Tensor) -> None:
    level = pyro.sample("level", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(level, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def discrete_latent(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Poisson(0.5))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def unmarked_event(x: Tensor) -> None:
    with pyro.plate("data", len(x), dim=-2):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z + torch.zeros(3), 1.0), obs=x)


def good(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)


def other_name(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def other_shape(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))


def additional_site(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("extra", dist.Normal(0.0, 1.0))


def joint_auxiliary(x: Tensor) -> None:
    """A guide like AutoDiagonalNormal: one draw for all data, then its pieces."""
    joint = pyro.sample(
        "joint",
        dist.Normal(torch.zeros(2 * len(x)), 1.0).to_event(1),
        infer={"is_auxiliary": True},
    )
    with pyro.plate("data", len(x)):
        pieces = joint.reshape(*joint.shape[:-2], len(x), 2)
        pyro.sample("z", dist.Delta(pieces, event_dim=1))


@pytest.mark.parametrize("model", [no_plate, global_latent])
def test_data_that_are_not_independent_have_one_weight_together(model: Program) -> None:
    particles = draw_particles(model, PriorGuide(model), VECTOR, num_particles=3)
    assert particles.log_weights.shape == (3, 1)


WRONG = {
    "nothing observed": (no_observation, None, VECTOR, 2, "observes nothing"),
    "discrete latent": (discrete_latent, None, VECTOR, 2, "'z' is discrete"),
    "unmarked event": (unmarked_event, None, MATRIX, 2, r"'x' has a log density .*to_event"),
    "missing site": (good, other_name, VECTOR, 2, r"does not draw .*\['z'\]"),
    "other shape": (good, other_shape, VECTOR, 2, r"'z' has shape \(2, 4, 3\)"),
    "additional site": (good, additional_site, VECTOR, 2, "the site 'extra'"),
    "joint guide": (good, joint_auxiliary, VECTOR, 2, "'joint' is outside the data plate"),
    "no particles": (good, None, VECTOR, 0, "num_particles >= 1, but got 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input(case: str) -> None:
    model, guide, x, num_particles, match = WRONG[case]
    with pytest.raises(ValueError, match=match):
        draw_particles(model, guide or PriorGuide(model), x, num_particles=num_particles)
