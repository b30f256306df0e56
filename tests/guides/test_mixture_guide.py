"""Mixtures fitted to draws: the laws they find, and the guide that proposes from them."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import kl_divergence

import lvkam_pyro as lv
from lvkam_pyro.ladder.mixture_fit import fit_mixture
from lvkam_pyro.tracing.bind import bind
from tests.assertions import assert_within_standard_errors
from tests.tracing import models

SHARES = torch.tensor([0.8, 0.2]).double()


def two_clusters(num_draws: int) -> Tensor:
    """Draws around (5, 0, 0) and (-5, 0, 0), correlated, `(S, 1, 3)`."""
    factor = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.3, 0.0], [0.0, 0.0, 2.0]]).double()
    loc = torch.tensor([[5.0, 0.0, 0.0], [-5.0, 0.0, 0.0]]).double()
    kernels = dist.MultivariateNormal(loc, scale_tril=factor)
    law = dist.MixtureSameFamily(dist.Categorical(SHARES), kernels)
    return law.sample((num_draws, 1))


def halves(num_draws: int) -> Tensor:
    return torch.arange(num_draws) < num_draws // 2


def test_separate_clusters_are_found_with_their_shares() -> None:
    points = two_clusters(2000)
    mixture = fit_mixture(points, torch.zeros(2000, 1), halves(2000))
    shares = mixture.mixture_distribution.probs[0]
    used = shares > 0
    assert used.sum() == 2
    at = mixture.component_distribution.loc[0, used, 0].sort().indices
    error = (SHARES.prod() / 2000).sqrt()
    # D + 2 draws' worth of equal shares, of 2000.
    assert_within_standard_errors(shares[used][at], SHARES.flip(0), error, extra=5 / 2000)
    covariance = mixture.component_distribution.covariance_matrix[0, used]
    truth = torch.tensor([[1.0, 0.9, 0.0], [0.9, 0.9, 0.0], [0.0, 0.0, 4.0]]).double()
    spread = mixture.component_distribution.df[0, 0] / (mixture.component_distribution.df[0, 0] - 2)
    relative = (covariance / spread - truth) / (truth.diagonal() * truth.diagonal()[:, None]).sqrt()
    assert relative.abs().max() < 5 * (2 / 400) ** 0.5


def test_weights_count_as_draws_do() -> None:
    """A uniform cloud weighted by a normal density gives that normal law."""
    points = torch.rand(20_000, 1, 1).double() * 12 - 6
    target = torch.distributions.Normal(1.0, 0.5)
    mixture = fit_mixture(points, target.log_prob(points[..., 0]), halves(20_000))
    shares, kernels = mixture.mixture_distribution.probs[0], mixture.component_distribution
    mean = (shares * kernels.loc[0, :, 0]).sum()
    scale = kernels.scale_tril[0, shares > 0, 0, 0]
    effective = 20_000 * 2 * 0.5 * torch.pi**0.5 / 12
    assert_within_standard_errors(mean, torch.tensor(1.0), torch.tensor(0.5 / effective**0.5))
    assert kl_divergence(target, torch.distributions.Normal(mean, scale.max())) < 0.01


def test_copies_make_no_components() -> None:
    """Each half predicts the other: clusters of one half's copies count against themselves."""
    points = torch.randn(64, 1, 2).double().repeat_interleave(16, 0)
    mixture = fit_mixture(points, torch.zeros(1024, 1), halves(1024))
    assert (mixture.mixture_distribution.probs > 0).sum() <= 2


def test_each_datum_has_components_of_its_own() -> None:
    both = torch.cat([two_clusters(1000), torch.randn(1000, 1, 3).double()], 1)
    mixture = fit_mixture(both, torch.zeros(1000, 2), halves(1000))
    assert (mixture.mixture_distribution.probs > 0).sum(-1).tolist() == [2, 1]


def test_draws_that_are_all_alike_have_a_law() -> None:
    mixture = fit_mixture(torch.full((64, 1, 2), 3.0), torch.zeros(64, 1), halves(64))
    assert mixture.log_prob(torch.full((1, 2), 3.0).double()).isfinite().all()


def folded(x: Tensor) -> None:
    """A positive latent, one on an interval and a simplex, each with a closed-form evidence."""
    with pyro.plate("data", len(x)):
        rate = pyro.sample("rate", dist.Gamma(3.0, 2.0))
        share = pyro.sample("share", dist.Beta(2.0, 1.5))
        parts = pyro.sample("parts", dist.Dirichlet(torch.tensor([1.0, 2.0, 3.0])))
        pyro.sample("waiting", dist.Exponential(rate), obs=x[:, 0])
        pyro.sample("heads", dist.Binomial(10, share), obs=x[:, 1])
        pyro.sample("kind", dist.Categorical(parts), obs=x[:, 2])


def folded_evidence(x: Tensor) -> Tensor:
    x = x.double()
    waiting = (
        torch.log(torch.tensor(3.0)) + 3 * torch.log(torch.tensor(2.0)) - 4 * (2 + x[:, 0]).log()
    )
    heads = dist.BetaBinomial(2.0, 1.5, 10).log_prob(x[:, 1])
    kind = (torch.tensor([1.0, 2.0, 3.0]) / 6).log()[x[:, 2].long()]
    return waiting + heads + kind


def test_weights_are_right_on_every_support() -> None:
    x = torch.tensor([[0.5, 3.0, 0.0], [4.0, 10.0, 2.0]])
    guide = lv.guides.MixtureGuide(folded, num_pilots=256)
    prepared = guide.on(bind(folded, x))
    particles = lv.draw_particles(folded, prepared, x, num_particles=20_000)
    weights = (particles.log_weights - folded_evidence(x)).exp()
    assert_within_standard_errors(
        weights.mean(0), torch.ones(2), weights.std(0) / len(weights) ** 0.5
    )


def test_no_weight_exceeds_the_priors_share_allows() -> None:
    """Q >= a p(z), whatever was fitted."""
    model = models.LinearGaussian(3, 3)
    x = 3 * model.sample(4)
    guide = lv.guides.MixtureGuide(model, num_pilots=16, num_moves=1, prior_share=0.1)
    particles = lv.draw_particles(model, guide, x, num_particles=5000)
    slack = particles.log_weights - particles.log_likelihood - torch.tensor(0.1).log().neg()
    assert slack.max() < 1e-4


def test_resampled_draws_are_the_posteriors() -> None:
    model = models.LinearGaussian(2, 2, scale=1.0)
    x = model.sample(3)
    guide = lv.guides.ImportanceGuide(
        model, lv.guides.MixtureGuide(model, num_pilots=256), num_particles=4000
    )
    z = lv.draw_particles(model, guide, x, num_particles=400).latents["z"].double()
    posterior = pyro.poutine.trace(model.posterior).get_trace(x).nodes["z"]["fn"]
    deviation = posterior.variance.sqrt().double()
    standard = (z.mean(0) - posterior.mean.double()) / deviation
    # 400 resampled of 4000 weighted draws, of which at least half are effective.
    assert_within_standard_errors(standard, 0 * standard, (1 / 400 + 1 / 2000) ** 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_pilots": 0}, "num_pilots"),
        ({"num_moves": 0}, "num_moves"),
        ({"prior_share": 0.0}, "prior_share between 0 and 1, but got 0.0"),
        ({"prior_share": 1.0}, "prior_share between 0 and 1, but got 1.0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lv.guides.MixtureGuide(folded, **options)
