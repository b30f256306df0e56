"""Programs with discrete latents: assignments, gates, labels, raters, words, switches."""

import itertools
import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.special import gammaln

from tests.programs.integrals import grid, log_integral, log_normal_density
from tests.programs.known import DATUM, Known, counts, normal, zeros_and_ones

PARALLEL = {"enumerate": "parallel"}


def gaussian_mixture(data: Tensor) -> None:
    """The mixture of Pyro's tutorial: weights, scale and locations shared, assignments local."""
    weights = pyro.sample("weights", dist.Dirichlet(0.5 * torch.ones(2)))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 2.0))
    with pyro.plate("components", 2):
        locs = pyro.sample("locs", dist.Normal(0.0, 10.0))
    with pyro.plate("data", len(data)):
        assignment = pyro.sample("assignment", dist.Categorical(weights), infer=PARALLEL)
        pyro.sample("obs", dist.Normal(locs[assignment], scale), obs=data)


def evidence_of_gaussian_mixture(data: Tensor) -> Tensor:
    """A sum over all assignments; given these only the scale needs quadrature."""
    terms = []
    log_scales = grid(-14.0, 8.0, 601)
    for assignment in itertools.product((0, 1), repeat=len(data)):
        second = torch.tensor(assignment, dtype=torch.float64)
        same = second[:, None] == second
        sizes = torch.tensor([len(data) - second.sum(), second.sum()])
        log_prior = (gammaln(sizes + 0.5) - gammaln(torch.tensor(0.5))).sum()
        log_prior = log_prior - gammaln(torch.tensor(1.0 + len(data)))

        def log_density(log_scale: Tensor, same: Tensor = same) -> Tensor:
            noise = (2 * log_scale).exp()[:, None, None] * torch.eye(len(data))
            zeros = torch.zeros(len(data), dtype=torch.float64)
            marginal = dist.MultivariateNormal(zeros, 100.0 * same + noise)
            return dist.Normal(0.0, 2.0).log_prob(log_scale) + marginal.log_prob(data.double())

        terms.append(log_prior + log_integral(log_density, log_scales))
    return torch.stack(terms).logsumexp(0)


WEIGHTS, LOCS, SCALES = (
    torch.tensor([0.2, 0.5, 0.3]),
    torch.tensor([-2.0, 0.5, 3.0]),
    torch.tensor([0.5, 1.0, 0.7]),
)


def fixed_mixture(x: Tensor) -> None:
    """Nothing but the assignments is unknown."""
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Categorical(WEIGHTS), infer=PARALLEL)
        pyro.sample("x", dist.Normal(LOCS[c], SCALES[c]), obs=x)


def mixture_of_latents(x: Tensor) -> None:
    """Each datum has a component and, drawn from it, a position."""
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Categorical(WEIGHTS), infer=PARALLEL)
        z = pyro.sample("z", dist.Normal(LOCS[c], SCALES[c]))
        pyro.sample("x", dist.Normal(z, 0.4), obs=x)


def evidence_of_mixture(x: Tensor, noise: float = 0.0) -> Tensor:
    scales = (SCALES.double() ** 2 + noise**2).sqrt()
    log_probs = dist.Normal(LOCS.double(), scales).log_prob(x.double()[:, None])
    return (WEIGHTS.double().log() + log_probs).logsumexp(-1)


def curved_mixture(x: Tensor) -> None:
    """The component chooses between two curves through one continuous latent."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        c = pyro.sample("c", dist.Bernoulli(0.3), infer=PARALLEL)
        loc = torch.where(c.bool(), z**2, z.sin())
        pyro.sample("x", dist.Normal(loc, 0.3), obs=x)


def evidence_of_curved_mixture(x: Tensor) -> Tensor:
    def log_density(z: Tensor) -> Tensor:
        square = math.log(0.3) + dist.Normal(z**2, 0.3).log_prob(x.double()[:, None])
        sine = math.log(0.7) + dist.Normal(z.sin(), 0.3).log_prob(x.double()[:, None])
        return (dist.Normal(0.0, 1.0).log_prob(z) + torch.logaddexp(square, sine)).T

    return log_integral(log_density, grid(-9.0, 9.0, 2001))


def factorial_mixture(x: Tensor) -> None:
    """Two switches add up."""
    with pyro.plate("data", len(x)):
        first = pyro.sample("first", dist.Bernoulli(0.3), infer=PARALLEL)
        second = pyro.sample("second", dist.Categorical(WEIGHTS), infer=PARALLEL)
        pyro.sample("x", dist.Normal(2 * first - second, 0.5), obs=x)


def evidence_of_factorial_mixture(x: Tensor) -> Tensor:
    weights = torch.outer(torch.tensor([0.7, 0.3]), WEIGHTS).double().flatten()
    locs = (torch.tensor([[0.0], [2.0]]) - torch.arange(3.0)).double().flatten()
    return (weights.log() + dist.Normal(locs, 0.5).log_prob(x.double()[:, None])).logsumexp(-1)


def gated_counts(x: Tensor) -> None:
    """Counts that a closed gate sets to zero, gate and rate unknown."""
    rate = pyro.sample("rate", dist.Gamma(2.0, 0.5))
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    with pyro.plate("days", len(x)):
        is_open = pyro.sample("is_open", dist.Bernoulli(share), infer=PARALLEL)
        pyro.sample("x", dist.Poisson(rate * is_open + 1e-6), obs=x)


def evidence_of_gated_counts(x: Tensor) -> Tensor:
    def log_density(log_rate: Tensor, logit: Tensor) -> Tensor:
        rate, share = log_rate.exp(), logit.sigmoid()
        log_prior = dist.Gamma(2.0, 0.5).log_prob(rate) + log_rate
        log_prior = log_prior + dist.Beta(2.0, 2.0).log_prob(share) + (share * (1 - share)).log()
        is_open = share.log()[..., None] + dist.Poisson(rate[..., None] + 1e-6).log_prob(x)
        closed = (1 - share).log()[..., None] + dist.Poisson(1e-6).log_prob(x)
        return log_prior + torch.logaddexp(is_open, closed).sum(-1)

    return log_integral(log_density, grid(-8.0, 5.0, 301), grid(-14.0, 14.0, 301))


LABELS = torch.tensor([0, 1, 1, 0])


def two_plates_of_labels(labelled: Tensor, labels: Tensor, unlabelled: Tensor) -> None:
    """Semi-supervised: one plate has its labels, the other one does not."""
    with pyro.plate("classes", 2):
        locs = pyro.sample("locs", dist.Normal(0.0, 2.0))
    with pyro.plate("labelled", len(labelled)):
        y = pyro.sample("y", dist.Categorical(torch.tensor([0.6, 0.4])), obs=labels)
        pyro.sample("x", dist.Normal(locs[..., y], 0.7), obs=labelled)
    with pyro.plate("unlabelled", len(unlabelled)):
        guess = dist.Categorical(torch.tensor([0.6, 0.4]))
        c = pyro.sample("c", guess, infer=PARALLEL)
        loc = torch.where(c == 0, locs[..., :1], locs[..., 1:])
        pyro.sample("u", dist.Normal(loc, 0.7), obs=unlabelled)


def some_labels(x: Tensor, labels: Tensor, is_labelled: Tensor) -> None:
    """Semi-supervised: a mask says which labels were observed."""
    with pyro.plate("classes", 2):
        locs = pyro.sample("locs", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(x)):
        prior = dist.Categorical(torch.tensor([0.6, 0.4]))
        c = pyro.sample("c", prior, obs=labels, obs_mask=is_labelled, infer=PARALLEL)
        loc = torch.where(c == 0, locs[..., :1], locs[..., 1:])
        pyro.sample("x", dist.Normal(loc, 0.7), obs=x)


def evidence_of_two_plates(labelled: Tensor, labels: Tensor, unlabelled: Tensor) -> Tensor:
    """A sum over the unknown labels; given all labels the data are normal."""
    x, terms = torch.cat([labelled, unlabelled]), []
    log_weights = torch.tensor([0.6, 0.4], dtype=torch.float64).log()
    for guess in itertools.product((0, 1), repeat=len(unlabelled)):
        c = torch.cat([labels, torch.tensor(guess, dtype=torch.long)])
        covariance = 4.0 * (c[:, None] == c) + 0.49 * torch.eye(len(c))
        terms.append(log_weights[c].sum() + log_normal_density(x, covariance))
    return torch.stack(terms).logsumexp(0)


def evidence_of_some_labels(x: Tensor, labels: Tensor, is_labelled: Tensor) -> Tensor:
    known = is_labelled
    return evidence_of_two_plates(x[known], labels[known], x[~known])


def two_regressions(x: Tensor, y: Tensor) -> None:
    """Each point lies on one of two lines."""
    with pyro.plate("lines", 2):
        slopes = pyro.sample("slopes", dist.Normal(torch.tensor([1.0, -1.0]), 1.0))
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Bernoulli(0.4), infer=PARALLEL)
        slope = torch.where(c.bool(), slopes[..., 1:], slopes[..., :1])
        pyro.sample("y", dist.Normal(slope * x, 0.4), obs=y)


def evidence_of_two_regressions(x: Tensor, y: Tensor) -> Tensor:
    x, y = x.double(), y.double()

    def log_density(first: Tensor, second: Tensor) -> Tensor:
        one = math.log(0.6) + dist.Normal(first[..., None] * x, 0.4).log_prob(y)
        other = math.log(0.4) + dist.Normal(second[..., None] * x, 0.4).log_prob(y)
        log_prior = dist.Normal(1.0, 1.0).log_prob(first) + dist.Normal(-1.0, 1.0).log_prob(second)
        return log_prior + torch.logaddexp(one, other).sum(-1)

    return log_integral(log_density, grid(-7.0, 9.0, 801), grid(-9.0, 7.0, 801))


TOPICS = torch.tensor([[0.5, 0.3, 0.1, 0.1], [0.1, 0.1, 0.2, 0.6]])
WORDS = torch.tensor([[0, 3, 1], [1, 3, 0], [0, 2, 3], [1, 3, 0], [2, 3, 1]])
"""Five words of three documents."""


def topics(words: Tensor) -> None:
    """Each document mixes two topics, each word comes from one: `(words, documents)`."""
    with pyro.plate("documents", words.shape[1], dim=-1):
        share = pyro.sample("share", dist.Dirichlet(torch.tensor([1.5, 0.8])))
        with pyro.plate("words", words.shape[0], dim=-2):
            topic = pyro.sample("topic", dist.Categorical(share), infer=PARALLEL)
            pyro.sample("word", dist.Categorical(TOPICS[topic]), obs=words)


def evidence_of_topics(words: Tensor) -> Tensor:
    def log_density(logit: Tensor) -> Tensor:
        share = torch.stack([logit.sigmoid(), (-logit).sigmoid()], -1)
        log_prior = dist.Beta(1.5, 0.8).log_prob(share[:, 0]) + share.log().sum(-1)
        probs = share @ TOPICS.double()
        return log_prior[:, None] + probs.log()[:, words].sum(1)

    return log_integral(log_density, grid(-40.0, 20.0, 2001))


def raters(answers: Tensor) -> None:
    """Dawid and Skene: what is true of an item is unknown, and how often each rater is right."""
    items = pyro.plate("items", answers.shape[0], dim=-2)
    people = pyro.plate("raters", answers.shape[1], dim=-1)
    with people:
        skill = pyro.sample("skill", dist.Beta(4.0, 2.0))
    with items:
        truth = pyro.sample("truth", dist.Bernoulli(0.5), infer=PARALLEL)
        with people:
            says_yes = truth * skill + (1 - truth) * (1 - skill)
            pyro.sample("answers", dist.Bernoulli(says_yes), obs=answers)


def evidence_of_raters(answers: Tensor) -> Tensor:
    """A sum over what is true; given that the skills are beta-binomial."""
    terms = []
    for guess in itertools.product((0.0, 1.0), repeat=len(answers)):
        right = (answers == torch.tensor(guess)[:, None]).double().sum(0)
        wrong = len(answers) - right
        a, b = torch.tensor(4.0, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
        posterior = gammaln(a + right) + gammaln(b + wrong) - gammaln(a + b + len(answers))
        terms.append((posterior - gammaln(a) - gammaln(b) + gammaln(a + b)).sum())
    return torch.stack(terms).logsumexp(0) - len(answers) * math.log(2.0)


def weather(temperature: Tensor) -> None:
    """The first program of Pyro's introduction: one switch, and no plate."""
    cloudy = pyro.sample("cloudy", dist.Bernoulli(0.3), infer=PARALLEL)
    mean = 75.0 - 20.0 * cloudy
    scale = 15.0 - 5.0 * cloudy
    pyro.sample("temperature", dist.Normal(mean, scale), obs=temperature)


def evidence_of_weather(temperature: Tensor) -> Tensor:
    cloudy = math.log(0.3) + dist.Normal(55.0, 10.0).log_prob(temperature)
    return torch.logaddexp(cloudy, math.log(0.7) + dist.Normal(75.0, 15.0).log_prob(temperature))


POINTS = torch.tensor([-2.2, 0.1, 1.4, 2.9, 3.5])
ANSWERS = zeros_and_ones(13, 0.6, 5, 2)
ABSCISSAS = normal(14, 8)

PROGRAMS = [
    Known(
        "Gaussian mixture",
        gaussian_mixture,
        evidence_of_gaussian_mixture,
        (torch.tensor([0.0, 1.0, 10.0, 11.0, 12.0]),),
        is_hard=True,
    ),
    Known("mixture of fixed components", fixed_mixture, evidence_of_mixture, (POINTS,), unit=DATUM),
    Known(
        "mixture of latents",
        mixture_of_latents,
        lambda x: evidence_of_mixture(x, 0.4),
        (POINTS,),
        unit=DATUM,
    ),
    Known("curved mixture", curved_mixture, evidence_of_curved_mixture, (POINTS,), unit=DATUM),
    Known(
        "factorial mixture", factorial_mixture, evidence_of_factorial_mixture, (POINTS,), unit=DATUM
    ),
    Known(
        "zero-inflated counts",
        gated_counts,
        evidence_of_gated_counts,
        (counts(11, 3.0, 9) * zeros_and_ones(12, 0.6, 9),),
    ),
    Known(
        "labels of one plate of two",
        two_plates_of_labels,
        evidence_of_two_plates,
        (torch.tensor([-1.0, 1.5, 0.9, -0.4]), LABELS, torch.tensor([1.2, -0.8, 0.1])),
    ),
    Known(
        "labels of some rows",
        some_labels,
        evidence_of_some_labels,
        (
            torch.tensor([-1.0, 1.5, 0.9, -0.4]),
            LABELS,
            torch.tensor([True, False, True, False]),
        ),
    ),
    Known(
        "two regressions",
        two_regressions,
        evidence_of_two_regressions,
        (ABSCISSAS, ABSCISSAS * torch.tensor([1.2, -0.8] * 4) + 0.4 * normal(15, 8)),
    ),
    Known("topics", topics, evidence_of_topics, (WORDS,), unit=DATUM),
    Known("raters", raters, evidence_of_raters, (ANSWERS,)),
    Known("weather", weather, evidence_of_weather, (torch.tensor(62.0),)),
]
