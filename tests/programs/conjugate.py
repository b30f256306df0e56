"""Programs with conjugate latents of many supports, factors, deterministic sites, all plates."""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.special import gammaln

from tests.programs.integrals import grid, log_integral, log_normal_density
from tests.programs.known import DATUM, Known, counts, normal, zeros_and_ones


def fair_coin(tosses: Tensor) -> None:
    """The first model of Pyro's SVI tutorial: a loop over observations."""
    fairness = pyro.sample("latent_fairness", dist.Beta(10.0, 10.0))
    for i in range(len(tosses)):
        pyro.sample(f"obs_{i}", dist.Bernoulli(fairness), obs=tosses[i])


def coin_in_a_sequential_plate(tosses: Tensor) -> None:
    fairness = pyro.sample("latent_fairness", dist.Beta(10.0, 10.0))
    for i in pyro.plate("tosses", len(tosses)):
        pyro.sample(f"obs_{i}", dist.Bernoulli(fairness), obs=tosses[i])


def coin_of_a_list(tosses: list[Tensor]) -> None:
    """The data are a list of scalars, as that tutorial has them."""
    fairness = pyro.sample("latent_fairness", dist.Beta(10.0, 10.0))
    for i in range(len(tosses)):
        pyro.sample(f"obs_{i}", dist.Bernoulli(fairness), obs=tosses[i])


def evidence_of_coin(tosses: Tensor | list[Tensor]) -> Tensor:
    heads, count = float(sum(tosses)), float(len(tosses))
    return log_beta(10.0 + heads, 10.0 + count - heads) - log_beta(10.0, 10.0)


def log_beta(a: Tensor | float, b: Tensor | float) -> Tensor:
    """Log of the beta function."""
    a, b = torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
    return gammaln(a) + gammaln(b) - gammaln(a + b)


def own_latents_in_a_sequential_plate(x: Tensor) -> None:
    """Each datum has a latent, drawn in a loop."""
    for i in pyro.plate("data", len(x)):
        z = pyro.sample(f"z_{i}", dist.Normal(0.0, 1.0))
        pyro.sample(f"x_{i}", dist.Normal(z, 0.5), obs=x[i])


def evidence_of_own_latents(x: Tensor) -> Tensor:
    return dist.Normal(0.0, 1.25**0.5).log_prob(x).sum()


def beta_binomial(trials: Tensor, successes: Tensor) -> None:
    """Each hospital has its own rate."""
    with pyro.plate("hospitals", len(trials)):
        rate = pyro.sample("rate", dist.Beta(2.0, 3.0))
        pyro.sample("successes", dist.Binomial(trials, rate), obs=successes)


def evidence_of_beta_binomial(trials: Tensor, successes: Tensor) -> Tensor:
    k, n = successes.double(), trials.double()
    choose = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return choose + log_beta(2 + k, 3 + n - k) - log_beta(2.0, 3.0)


def negative_binomial(x: Tensor) -> None:
    """Counts whose rates scatter."""
    with pyro.plate("data", len(x)):
        rate = pyro.sample("rate", dist.Gamma(3.0, 1.5))
        pyro.sample("x", dist.Poisson(rate), obs=x)


def evidence_of_negative_binomial(x: Tensor) -> Tensor:
    """Gamma(a, b) and Poisson: choose(x + a - 1, x) (b / (1 + b))^a (1 / (1 + b))^x."""
    a, b, x = torch.tensor(3.0, dtype=torch.float64), 1.5, x.double()
    choose = gammaln(x + a) - gammaln(a) - gammaln(x + 1)
    return choose + a * math.log(b / (1 + b)) - x * math.log(1 + b)


def shared_rate(x: Tensor) -> None:
    rate = pyro.sample("rate", dist.Gamma(3.0, 1.5))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Poisson(rate), obs=x)


def evidence_of_shared_rate(x: Tensor) -> Tensor:
    a, b, x = torch.tensor(3.0, dtype=torch.float64), 1.5, x.double()
    total = a + x.sum()
    constant = a * math.log(b) - gammaln(a) - gammaln(x + 1).sum()
    return constant + gammaln(total) - total * math.log(b + len(x))


CONCENTRATION = torch.tensor([0.8, 1.5, 2.0])


def dirichlet_multinomial(x: Tensor) -> None:
    """Votes of three parties in each district."""
    with pyro.plate("districts", len(x)):
        shares = pyro.sample("shares", dist.Dirichlet(CONCENTRATION))
        votes = dist.Multinomial(20, shares, validate_args=False)
        pyro.sample("votes", votes, obs=x)


def evidence_of_dirichlet_multinomial(x: Tensor) -> Tensor:
    x, a = x.double(), CONCENTRATION.double()
    multinomial = gammaln(x.sum(-1) + 1) - gammaln(x + 1).sum(-1)
    posterior = gammaln(a + x).sum(-1) - gammaln((a + x).sum(-1))
    return multinomial + posterior - gammaln(a).sum() + gammaln(a.sum())


def die(rolls: Tensor) -> None:
    """Integer outcomes of one die whose probabilities are unknown."""
    probs = pyro.sample("probs", dist.Dirichlet(torch.ones(6)))
    with pyro.plate("rolls", len(rolls)):
        pyro.sample("roll", dist.Categorical(probs), obs=rolls)


def evidence_of_die(rolls: Tensor) -> Tensor:
    sizes = rolls.bincount(minlength=6).double()
    return gammaln(sizes + 1).sum() - gammaln(sizes.sum() + 6) + math.log(120.0)


def lifetimes(x: Tensor, is_censored: Tensor) -> None:
    """Survival times from one rate; of those who live on, a factor says that they do."""
    rate = pyro.sample("rate", dist.Gamma(2.0, 2.0))
    with pyro.plate("patients", len(x)):
        with pyro.poutine.mask(mask=~is_censored):
            pyro.sample("x", dist.Exponential(rate), obs=x)
        pyro.factor("survival", torch.where(is_censored, -rate * x, 0.0))


def evidence_of_lifetimes(x: Tensor, is_censored: Tensor) -> Tensor:
    a, b = 2.0 + float((~is_censored).sum()), 2.0 + float(x.sum())
    return torch.tensor(math.lgamma(a) - a * math.log(b) + 2 * math.log(2.0))


def factor_only(x: Tensor) -> None:
    """The likelihood is a factor alone."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        loc = pyro.deterministic("loc", 2 * z)
        pyro.factor("likelihood", dist.Normal(loc, 0.5).log_prob(x))


def evidence_of_factor(x: Tensor) -> Tensor:
    return dist.Normal(0.0, 4.25**0.5).log_prob(x)


def unknown_mean_and_scale(x: Tensor) -> None:
    """The normal-gamma model."""
    precision = pyro.sample("precision", dist.Gamma(2.0, 1.0))
    mean = pyro.sample("mean", dist.Normal(0.0, (2.0 / precision).sqrt()))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mean, precision.rsqrt()), obs=x)


def evidence_of_mean_and_scale(x: Tensor) -> Tensor:
    """A multivariate t of 4 degrees of freedom."""
    scale = (2.0 + torch.eye(len(x))).double() * 0.5
    t = dist.MultivariateStudentT(4.0, torch.zeros(len(x)).double(), torch.linalg.cholesky(scale))
    return t.log_prob(x.double())


COVARIANCE = torch.tensor([[1.0, 0.8], [0.8, 2.0]])


def correlated_latents(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.MultivariateNormal(torch.zeros(2), COVARIANCE))
        pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=x)


def evidence_of_correlated(x: Tensor) -> Tensor:
    return log_normal_density(x, COVARIANCE + 0.25 * torch.eye(2))


def scales_of_rows(x: Tensor) -> None:
    """Each row has a LogNormal scale of its own."""
    with pyro.plate("data", len(x)):
        scale = pyro.sample("scale", dist.LogNormal(0.0, 0.7))
        pyro.sample("x", dist.Normal(torch.zeros(3), scale[..., None]).to_event(1), obs=x)


def evidence_of_scales(x: Tensor) -> Tensor:
    def log_density(log_scale: Tensor) -> Tensor:
        rows = dist.Normal(0.0, log_scale.exp()[:, None, None]).log_prob(x.double()).sum(-1)
        return dist.Normal(0.0, 0.7).log_prob(log_scale)[:, None] + rows

    return log_integral(log_density, grid(-7.0, 7.0, 1401))


ANGLES = torch.tensor([0.3, 2.5, -1.0, 0.8])


def directions(angle: Tensor) -> None:
    """Angles around a mean direction that is uniform on the circle."""
    mean = pyro.sample("mean", dist.Uniform(-math.pi, math.pi))
    with pyro.plate("data", len(angle)):
        pyro.sample("angle", dist.VonMises(mean, 2.0), obs=angle)


def evidence_of_directions(angle: Tensor) -> Tensor:
    def log_density(mean: Tensor) -> Tensor:
        log_prob = dist.VonMises(mean[:, None], torch.tensor(2.0).double()).log_prob(angle.double())
        return log_prob.sum(-1) - math.log(2 * math.pi)

    return log_integral(log_density, grid(-math.pi, math.pi, 1001))


def bounded_rate(x: Tensor) -> None:
    """A latent that the prior cuts off: Uniform, and HalfNormal beside it."""
    with pyro.plate("data", len(x)):
        low = pyro.sample("low", dist.Uniform(0.0, 2.0))
        more = pyro.sample("more", dist.HalfNormal(1.0))
        pyro.sample("x", dist.Normal(low + more, 0.4), obs=x)


def evidence_of_bounded(x: Tensor) -> Tensor:
    """The uniform part is a difference of normal distribution functions, the other on a grid."""

    def log_density(log_more: Tensor) -> Tensor:
        more = log_more.exp()[:, None]
        rest = x.double() - more
        inside = torch.special.ndtr(rest / 0.4) - torch.special.ndtr((rest - 2.0) / 0.4)
        log_prior = dist.HalfNormal(1.0).log_prob(more) + log_more[:, None]
        return log_prior + (inside.clamp(min=1e-300) / 2).log()

    return log_integral(log_density, grid(-25.0, 2.5, 2001))


TOSSES = zeros_and_ones(51, 0.6, 10)
VOTES = torch.tensor([[3.0, 7.0, 10.0], [0.0, 12.0, 8.0], [5.0, 5.0, 10.0], [1.0, 1.0, 18.0]])
ROLLS = torch.tensor([0, 5, 3, 3, 2, 5, 5, 1])
TRIALS = torch.tensor([10.0, 4.0, 25.0, 7.0])
SUCCESSES = torch.tensor([3.0, 4.0, 6.0, 0.0])
TIMES = torch.tensor([0.5, 2.0, 1.2, 3.0, 0.1])
CENSORED = torch.tensor([False, True, False, True, False])

PROGRAMS = [
    Known("fair coin", fair_coin, evidence_of_coin, (TOSSES,)),
    Known("coin in a sequential plate", coin_in_a_sequential_plate, evidence_of_coin, (TOSSES,)),
    Known("coin of a list", coin_of_a_list, evidence_of_coin, (list(TOSSES),)),
    Known(
        "own latents in a sequential plate",
        own_latents_in_a_sequential_plate,
        evidence_of_own_latents,
        (normal(52, 5),),
    ),
    Known(
        "beta-binomial", beta_binomial, evidence_of_beta_binomial, (TRIALS, SUCCESSES), unit=DATUM
    ),
    Known(
        "negative binomial",
        negative_binomial,
        evidence_of_negative_binomial,
        (counts(53, 2.0, 6),),
        unit=DATUM,
    ),
    Known("shared rate", shared_rate, evidence_of_shared_rate, (counts(53, 2.0, 6),)),
    Known(
        "Dirichlet-multinomial",
        dirichlet_multinomial,
        evidence_of_dirichlet_multinomial,
        (VOTES,),
        unit=DATUM,
    ),
    Known("die", die, evidence_of_die, (ROLLS,)),
    Known("censored lifetimes", lifetimes, evidence_of_lifetimes, (TIMES, CENSORED)),
    Known("factor only", factor_only, evidence_of_factor, (normal(54, 5),), unit=DATUM),
    Known(
        "unknown mean and scale",
        unknown_mean_and_scale,
        evidence_of_mean_and_scale,
        (normal(55, 6),),
    ),
    Known(
        "correlated latents",
        correlated_latents,
        evidence_of_correlated,
        (normal(56, 5, 2),),
        unit=DATUM,
    ),
    Known("scales of rows", scales_of_rows, evidence_of_scales, (normal(57, 5, 3),), unit=DATUM),
    Known("directions", directions, evidence_of_directions, (ANGLES,)),
    Known("bounded latents", bounded_rate, evidence_of_bounded, (normal(58, 5) + 1,), unit=DATUM),
]
