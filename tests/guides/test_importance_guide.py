"""Importance sampling as a guide: when it resamples, what it smooths, what it says."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.statistics.weights import effective_sample_size, pareto_k, smooth_weights
from tests.tracing import models


def prior_guide(
    model: object, num_particles: int = 200, **options: object
) -> lv.guides.ImportanceGuide:
    return lv.guides.ImportanceGuide(
        model, lv.PriorGuide(model), num_particles=num_particles, **options
    )


def draw(guide: lv.guides.ImportanceGuide, x: Tensor, num_particles: int) -> lv.Particles:
    return lv.draw_particles(guide.model, guide, x, num_particles=num_particles)


def spread(particles: lv.Particles) -> Tensor:
    return particles.log_weights.amax(0) - particles.log_weights.amin(0)


def test_data_are_resampled_where_the_weights_are_poor_and_only_there() -> None:
    # The prior fits the first datum and misses the second by far.
    x = torch.tensor([0.0, 3.0])
    model = models.with_deterministic
    kept = draw(prior_guide(model, smooth=False, threshold=0.3), x, 400)
    ess = effective_sample_size(kept.log_weights)
    assert spread(kept)[0] > 0.1
    assert ess[0] < 400
    assert spread(kept)[1] < 1e-4
    assert len(kept.latents["z"][:, 0].unique()) == 400
    assert len(kept.latents["z"][:, 1].unique()) < 200


@pytest.mark.parametrize(("threshold", "resampled"), [(0.0, False), (1.0, True)])
def test_the_threshold_decides(threshold: float, resampled: bool) -> None:
    particles = draw(
        prior_guide(models.two_sites, smooth=False, threshold=threshold), torch.zeros(3), 300
    )
    assert ((spread(particles) < 1e-4) == resampled).all()


def test_fewer_draws_weigh_the_same() -> None:
    particles = draw(prior_guide(models.two_sites, threshold=0.0, smooth=False), torch.zeros(3), 7)
    assert (spread(particles) < 1e-4).all()


def test_the_resampler_is_the_callers() -> None:
    def first(log_weights: Tensor, num_draws: int) -> Tensor:
        return torch.zeros(num_draws, log_weights.shape[1], dtype=torch.int64)

    particles = draw(prior_guide(models.two_sites, resampler=first), torch.zeros(3), 7)
    assert (particles.latents["a"] == particles.latents["a"][0]).all()


def test_a_poor_proposal_is_called_poor() -> None:
    model = models.LinearGaussian(8, 16, scale=0.05)
    x = model.sample(2)
    guide = prior_guide(model, 1000)
    with pytest.warns(UserWarning, match="Pareto k above 0.7"):
        draw(guide, x, 10)
    report = lv.evidence.Importance(1000).estimate(model, x).diagnostics
    assert (report["pareto_k"] > 0.7).all()
    assert (report["ess"] < 10).all()
    assert (report["largest_weight"] > 0.1).all()


def test_a_good_proposal_is_called_good() -> None:
    model = models.LinearGaussian(8, 16, scale=0.5)
    x = model.sample(2)
    report = lv.evidence.Importance(500).estimate(model, x, guide=model.posterior).diagnostics
    assert (report["ess"] > 499).all()


def test_smoothed_weights_are_the_order_statistics_of_their_tail() -> None:
    """Vehtari et al.: the z-th of M tail weights becomes F^-1((z - 1/2) / M), in their order."""
    log_weights = 0.6 * torch.distributions.Exponential(1.0).sample((2000, 1)).double()
    smoothed, k = smooth_weights(log_weights)
    order = log_weights.squeeze().argsort()
    num_tail = int(3 * 2000**0.5)
    tail, body = order[-num_tail:], order[:-num_tail]
    shift = (smoothed - log_weights)[body]
    torch.testing.assert_close(shift, shift[:1].expand_as(shift))
    weights = (smoothed[tail].squeeze() - shift[0]).exp()
    cutoff = log_weights[order[-num_tail - 1]].exp()
    places = (torch.arange(num_tail).double() + 0.5) / num_tail
    quantiles = ((1 - places) ** -k - 1) / k
    scale = (weights - cutoff)[: num_tail // 2] / quantiles[: num_tail // 2]
    torch.testing.assert_close(scale, scale[:1].expand_as(scale), rtol=1e-3, atol=0)
    assert torch.equal(k, pareto_k(log_weights))


def test_smoothing_keeps_the_mean_weight_and_the_order() -> None:
    log_weights = torch.randn(500, 4).double() * 1.5 - 300
    smoothed, _ = smooth_weights(log_weights)
    torch.testing.assert_close(smoothed.logsumexp(0), log_weights.logsumexp(0))
    assert torch.equal(smoothed.argsort(0), log_weights.argsort(0))


@pytest.mark.parametrize(
    "log_weights",
    [torch.randn(20, 2), torch.zeros(100, 2), torch.full((100, 2), -math.inf)],
    ids=["few", "equal", "zero"],
)
def test_weights_without_a_tail_are_left_alone(log_weights: Tensor) -> None:
    assert torch.equal(smooth_weights(log_weights)[0], log_weights)


def test_smoothing_steadies_the_posterior_mean() -> None:
    """With heavy weights (k near 0.6) the smoothed estimate varies less, run for run."""
    plain, smooth = [], []
    for _ in range(200):
        z = torch.distributions.Exponential(1.0).sample((200, 1)).double()
        log_weights = 0.65 * z
        smoothed, _ = smooth_weights(log_weights)
        plain.append(float((log_weights.softmax(0) * z).sum()))
        smooth.append(float((smoothed.softmax(0) * z).sum()))
    assert torch.tensor(smooth).std() < torch.tensor(plain).std()


WRONG = [
    (ValueError, {"num_particles": 0}, "num_particles >= 1"),
    (TypeError, {"num_particles": 1.5}, "num_particles to be an integer"),
    (ValueError, {"threshold": 1.5}, "threshold from 0 to 1, but got 1.5"),
    (ValueError, {"threshold": -0.1}, "threshold from 0 to 1"),
]


@pytest.mark.parametrize(("error", "options", "match"), WRONG)
def test_wrong_input(error: type[Exception], options: dict[str, object], match: str) -> None:
    with pytest.raises(error, match=match):
        prior_guide(models.two_sites, **options)


def walled(x: Tensor) -> None:
    """Positive data are impossible."""
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.factor("wall", torch.where(x > 0, -math.inf, 0.0))


def test_data_without_a_weight_are_named() -> None:
    with pytest.raises(ValueError, match=r"got none for \[1\]"):
        draw(prior_guide(walled), torch.tensor([-1.0, 1.0]), 5)
