"""Rejection from the prior: exact moments by quadrature, true bounds, honest refusals."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.guides.likelihood_bound import derive_bound
from lvkam_pyro.tracing.bind import bind
from tests.assertions import assert_p_value, assert_within_standard_errors
from tests.tracing import models


def bound_of(model: object, x: Tensor) -> Tensor:
    return derive_bound(bind(model, x))


def square(x: Tensor) -> None:
    """A bimodal posterior without a closed form."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.3, 1.0))
        pyro.sample("x", dist.Normal(z.square(), 0.3), obs=x)


def quadrature(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes, their posterior masses `(G, N)` and the log evidence of `square`."""
    z = torch.linspace(-8, 8, 8001).double()[:, None]
    log_joint = dist.Normal(0.3, 1.0).log_prob(z) + dist.Normal(z.square(), 0.3).log_prob(x)
    log_evidence = log_joint.logsumexp(0) + math.log(16 / 8000)
    return z, log_joint.softmax(0), log_evidence


X = torch.tensor([1.0, 0.2, 3.0], dtype=torch.float64)


def test_moments_of_a_bimodal_posterior() -> None:
    draws = lv.guides.RejectionGuide(square).sample(X, num_draws=4000)
    z, mass, log_evidence = quadrature(X)
    for power in (1, 2, 3, 4):
        values = draws.latents["z"].double() ** power
        exact = (mass * z**power).sum(0)
        assert_within_standard_errors(values.mean(0), exact, values.std(0) / len(values) ** 0.5)
    assert_within_standard_errors(draws.log_evidence, log_evidence, draws.standard_error)


def test_draws_have_the_posteriors_law() -> None:
    draws = lv.guides.RejectionGuide(square).sample(X, num_draws=2000).latents["z"].double()
    z, mass, _ = quadrature(X)
    for n in range(len(X)):
        index = torch.searchsorted(z.squeeze(), draws[:, n].contiguous()).clamp(max=len(z) - 1)
        assert_p_value(kstest(mass.cumsum(0)[index, n].numpy(), "uniform").pvalue)


def test_draws_of_one_datum_are_independent() -> None:
    z = lv.guides.RejectionGuide(square).sample(X, num_draws=4000).latents["z"].double()
    z = (z - z.mean(0)) / z.std(0)
    correlation = (z[1:] * z[:-1]).mean(0)
    assert_within_standard_errors(correlation, torch.zeros(3).double(), len(z) ** -0.5)


def test_the_acceptance_is_the_evidence_over_the_bound() -> None:
    draws = lv.guides.RejectionGuide(square).sample(X, num_draws=200)
    _, _, log_evidence = quadrature(X)
    exact = (log_evidence - bound_of(square, X)).exp()
    error = draws.standard_error * draws.acceptance
    assert_within_standard_errors(draws.acceptance, exact, error)
    assert draws.num_proposed >= 200 / draws.acceptance.min() * 0.7


@pytest.mark.slow
def test_the_standard_errors_are_calibrated() -> None:
    scores = []
    for seed in range(100):
        draws = lv.guides.RejectionGuide(square).sample(X, num_draws=100, seed=seed)
        scores.append((draws.log_evidence - quadrature(X)[2]) / draws.standard_error)
    assert 0.8 < torch.stack(scores).square().mean().sqrt() < 1.3


def test_an_lvkam_with_one_latent() -> None:
    prior, generator = lv.MixturePrior(1), lv.KANGenerator(1, 3)
    model = lv.LVKAM(prior, generator, lv.NormalLikelihood(3, scale=0.2)).double()
    with torch.no_grad():
        z = model.prior().sample((4,))
        x = model.likelihood(model.generator(z)).sample()
        draws = lv.guides.RejectionGuide(model).sample(x, num_draws=2000).latents["z"].squeeze(-1)
        nodes = (torch.arange(4000).double() + 0.5) / 4000
        log_prior = model.prior().log_prob(nodes[:, None])
        log_likelihood = model.likelihood(model.generator(nodes[:, None])[:, None]).log_prob(x)
    mass = (log_prior[:, None] + log_likelihood).softmax(0)
    exact = (mass * nodes[:, None]).sum(0)
    assert_within_standard_errors(draws.mean(0), exact, draws.std(0) / len(draws) ** 0.5)


def test_blocks_of_any_size_give_the_same_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvkam_pyro.tracing.program._MAX_VALUES", 6 * 40)
    draws = lv.guides.RejectionGuide(square).sample(X, num_draws=400)
    z, mass, _ = quadrature(X)
    values = draws.latents["z"].double()
    error = values.std(0) / len(values) ** 0.5
    assert_within_standard_errors(values.mean(0), (mass * z).sum(0), error)


def test_equal_seeds_give_equal_draws() -> None:
    before = torch.get_rng_state()
    first, second = (
        lv.guides.RejectionGuide(square).sample(X, num_draws=5, seed=3) for _ in range(2)
    )
    assert torch.equal(first.latents["z"], second.latents["z"])
    assert torch.equal(before, torch.get_rng_state())


def multivariate(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        loc = torch.stack([z, -z], -1)
        pyro.sample(
            "x", dist.MultivariateNormal(loc, torch.tensor([[2.0, 1.0], [1.0, 1.0]])), obs=x
        )


def count(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Poisson(z.exp()), obs=x)


def lvkam(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", lv.NormalLikelihood(2, scale=0.5)(z[..., None].expand(*z.shape, 2)), obs=x)


NORMAL = -math.log(2 * math.pi) / 2
BOUNDS = {
    "normal": (models.two_sites, torch.zeros(2), NORMAL),
    "three readings": (models.with_inner_plate, torch.zeros(2, 3), 3 * NORMAL),
    "counted twice": (models.with_user_scale, torch.zeros(2), 2 * NORMAL),
    "a minibatch": (models.with_plate_total, torch.zeros(2), NORMAL),
    "multivariate": (multivariate, torch.zeros(2, 2), 2 * NORMAL),
    "factored": (lvkam, torch.zeros(2, 2), 2 * (NORMAL + math.log(2))),
    "discrete": (count, torch.ones(2), 0.0),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_of_known_likelihoods(name: str) -> None:
    model, x, expected = BOUNDS[name]
    torch.testing.assert_close(
        bound_of(model, x), torch.full((2,), expected).double(), atol=1e-6, rtol=0
    )


def by_factor(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.factor("x", -(z - x).square() / 2)


def test_a_bound_of_ones_own_serves_any_likelihood() -> None:
    x = torch.tensor([0.0, 1.0])
    # The factor is at most 1; a bound for each datum that is too large only costs proposals.
    for bound in (0.0, torch.tensor([0.0, 0.5])):
        draws = lv.guides.RejectionGuide(by_factor, max_log_likelihood=bound).sample(
            x, num_draws=2000
        )
        z = draws.latents["z"].double()
        assert_within_standard_errors(z.mean(0), x.double() / 2, (0.5 / 2000) ** 0.5)
        exact = -x.double().square() / 4 - math.log(2) / 2
        assert_within_standard_errors(draws.log_evidence, exact, draws.standard_error)


def noise_that_depends(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(0.0, z.exp()), obs=x)


def heavy(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.StudentT(4.0, z, 1.0), obs=x)


def weighted(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        with pyro.poutine.scale(scale=2.0):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


REFUSED = [
    (ValueError, heavy, {}, "is a StudentT"),
    (ValueError, by_factor, {}, "site 'x' is not known"),
    (ValueError, noise_that_depends, {}, "scale depends on the latents"),
    (ValueError, weighted, {}, "'z' has a scale"),
    (ValueError, square, {"max_log_likelihood": -1.0}, "not true: a prior draw has"),
    (ValueError, square, {"max_log_likelihood": torch.zeros(2)}, r"one for each of the 3 data"),
    (ValueError, square, {"max_log_likelihood": math.nan}, "finite number"),
    (ValueError, square, {"min_acceptance": 0.0}, "min_acceptance between 0 and 1"),
    (RuntimeError, square, {"min_acceptance": 0.2}, r"hopeless at 1 of 3 data \(2\)"),
]


@pytest.mark.parametrize(("error", "model", "options", "match"), REFUSED)
def test_refusals(
    error: type[Exception], model: object, options: dict[str, object], match: str
) -> None:
    with pytest.raises(error, match=match):
        lv.guides.RejectionGuide(model, **options).sample(X, num_draws=5000)


def test_hopeless_data_are_named_with_numbers() -> None:
    model = models.LinearGaussian(6, 12, scale=0.05)
    x = model.sample(3)
    with pytest.raises(RuntimeError, match=r"3 of 3 data \(0, 1, 2\): of \d+ prior draws.*Lookah"):
        lv.guides.RejectionGuide(model, min_acceptance=1e-3).sample(x, num_draws=10)


def test_an_impossible_datum_is_named() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Poisson(z.exp()), obs=x)
            pyro.factor("wall", torch.where(x > 4, -math.inf, 0.0))

    with pytest.raises(RuntimeError, match=r"1 of 2 data \(1\).*no known number"):
        lv.guides.RejectionGuide(model, max_log_likelihood=0.0, min_acceptance=1e-3).sample(
            torch.tensor([1.0, 5.0]), num_draws=10
        )
