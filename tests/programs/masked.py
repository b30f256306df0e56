"""Programs with missing data: masks of their own, obs_mask, ragged sequences."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from tests.programs.integrals import grid, log_integral, log_normal_density
from tests.programs.known import DATUM, Known, counts, normal, zeros_and_ones

LOADINGS = torch.tensor([[1.0, -0.5, 0.8], [0.3, 0.9, -0.6]])
NOISE = 0.5


def with_holes(x: Tensor, seed: int) -> Tensor:
    """A third of the entries is NaN, of the last row all but one."""
    holes = zeros_and_ones(seed, 0.3, *x.shape).bool()
    holes[-1] = torch.arange(x.shape[-1]) > 0
    return torch.where(holes, torch.nan, x)


def masked_factors(x: Tensor) -> None:
    """Factor analysis whose own mask leaves out what is NaN."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        likelihood = dist.Normal(z @ LOADINGS, NOISE).mask(~x.isnan()).to_event(1)
        pyro.sample("x", likelihood, obs=x.nan_to_num())


def masked_columns(x: Tensor) -> None:
    """The same by a plate of columns and a mask as a context."""
    with pyro.plate("data", len(x), dim=-2):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        columns = pyro.plate("columns", x.shape[1], dim=-1)
        with columns, pyro.poutine.mask(mask=~x.isnan()):
            loc = (z @ LOADINGS).squeeze(-2)
            pyro.sample("x", dist.Normal(loc, NOISE), obs=x.nan_to_num())


def columns_by_obs_mask(x: Tensor) -> None:
    """The same by obs_mask: Pyro draws what is missing."""
    with pyro.plate("data", len(x), dim=-2):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("columns", x.shape[1], dim=-1):
            loc = (z @ LOADINGS).squeeze(-2)
            observed = ~x.isnan()
            pyro.sample("x", dist.Normal(loc, NOISE), obs=x.nan_to_num(), obs_mask=observed)


def evidence_of_factors(x: Tensor) -> Tensor:
    covariance = LOADINGS.T @ LOADINGS + NOISE**2 * torch.eye(x.shape[1])

    def of_row(row: Tensor) -> Tensor:
        known = ~row.isnan()
        return log_normal_density(row[known], covariance[known][:, known])

    return torch.stack([of_row(row) for row in x])


def missing_readings(x: Tensor) -> None:
    """One reading a row, some rows without."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(1.0, 1.0))
        likelihood = dist.Normal(z, 0.5)
        pyro.sample("x", likelihood, obs=x.nan_to_num(), obs_mask=~x.isnan())


def evidence_of_readings(x: Tensor) -> Tensor:
    log_prob = dist.Normal(1.0, 1.25**0.5).log_prob(x.nan_to_num())
    return torch.where(x.isnan(), 0.0, log_prob)


def missing_counts(x: Tensor, is_seen: Tensor) -> None:
    """Counts, some of which were not taken."""
    rate = pyro.sample("rate", dist.Gamma(2.0, 0.5))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Poisson(rate), obs=x, obs_mask=is_seen)


def evidence_of_counts(x: Tensor, is_seen: Tensor) -> Tensor:
    """Quadrature of the logarithm of the rate over the counts that were taken."""

    def log_density(log_rate: Tensor) -> Tensor:
        rate = log_rate.exp()
        log_likelihood = dist.Poisson(rate[:, None]).log_prob(x[is_seen].double()).sum(-1)
        return dist.Gamma(2.0, 0.5).log_prob(rate) + log_rate + log_likelihood

    return log_integral(log_density, grid(-14.0, 5.0, 2001))


def missing_answers(x: Tensor, is_seen: Tensor) -> None:
    """Answers to four questions by people of one ability each, some left open."""
    difficulty = torch.tensor([-1.0, 0.0, 0.5, 1.0])
    with pyro.plate("people", len(x), dim=-2):
        ability = pyro.sample("ability", dist.Normal(0.0, 1.0))
        with pyro.plate("questions", x.shape[1], dim=-1):
            likelihood = dist.Bernoulli(logits=ability - difficulty)
            pyro.sample("answers", likelihood, obs=x, obs_mask=is_seen)


def evidence_of_answers(x: Tensor, is_seen: Tensor) -> Tensor:
    difficulty = torch.tensor([-1.0, 0.0, 0.5, 1.0], dtype=torch.float64)

    def log_density(ability: Tensor) -> Tensor:
        logits = (ability[:, None] - difficulty)[:, None]
        log_prob = dist.Bernoulli(logits=logits).log_prob(x.double())
        return dist.Normal(0.0, 1.0).log_prob(ability)[:, None] + (log_prob * is_seen).sum(-1)

    return log_integral(log_density, grid(-10.0, 10.0, 801))


def masked_regression(x: Tensor, y: Tensor) -> None:
    """Shared weights, and responses that are missing."""
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    intercept = pyro.sample("intercept", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(x)):
        likelihood = dist.Normal(intercept + slope * x, 0.6).mask(~y.isnan())
        pyro.sample("y", likelihood, obs=y.nan_to_num())


def evidence_of_regression(x: Tensor, y: Tensor) -> Tensor:
    x, y = x[~y.isnan()], y[~y.isnan()]
    return log_normal_density(y, 4.0 + torch.outer(x, x) + 0.36 * torch.eye(len(x)))


LENGTHS = torch.tensor([4, 2, 3, 1])


def ragged_walks(x: Tensor, lengths: Tensor) -> None:
    """Sequences of their own lengths: masks lie around latents and observations."""
    with pyro.plate("sequences", len(x)):
        level = x.new_zeros(len(x))
        for t in range(x.shape[1]):
            with pyro.poutine.mask(mask=t < lengths):
                level = pyro.sample(f"level_{t}", dist.Normal(0.9 * level, 0.7))
                pyro.sample(f"x_{t}", dist.Normal(level, 0.5), obs=x[:, t])


def ragged_vectors(x: Tensor, lengths: Tensor) -> None:
    """The same with latents of two coordinates, of which a sum is seen."""
    with pyro.plate("sequences", len(x)):
        level = x.new_zeros(len(x), 2)
        for t in pyro.markov(range(x.shape[1])):
            with pyro.poutine.mask(mask=t < lengths):
                step = dist.Normal(0.9 * level, 0.7 * 0.5**0.5).to_event(1)
                level = pyro.sample(f"level_{t}", step)
                pyro.sample(f"x_{t}", dist.Normal(level.sum(-1), 0.5), obs=x[:, t])


def evidence_of_walks(x: Tensor, lengths: Tensor) -> Tensor:
    """Each row is normal in its valid entries."""
    times = torch.arange(float(x.shape[1]))
    decay = torch.tril(0.9 ** (times[:, None] - times).clamp(min=0))
    covariance = 0.49 * decay @ decay.T + 0.25 * torch.eye(len(times))
    rows = zip(x, lengths.tolist(), strict=True)
    return torch.stack([log_normal_density(row[:n], covariance[:n, :n]) for row, n in rows])


HOLEY = with_holes(normal(31, 6, 3), 32)
SEEN = torch.tensor([True, True, False, True, False, True])

PROGRAMS = [
    Known("masked factors", masked_factors, evidence_of_factors, (HOLEY,), unit=DATUM),
    Known("masked columns", masked_columns, evidence_of_factors, (HOLEY,), unit=DATUM),
    Known("columns by obs_mask", columns_by_obs_mask, evidence_of_factors, (HOLEY,), unit=DATUM),
    Known(
        "missing readings",
        missing_readings,
        evidence_of_readings,
        (torch.tensor([0.5, torch.nan, 2.0, torch.nan, -1.0]),),
        unit=DATUM,
    ),
    Known("missing counts", missing_counts, evidence_of_counts, (counts(33, 3.0, 6), SEEN)),
    Known(
        "missing answers",
        missing_answers,
        evidence_of_answers,
        (zeros_and_ones(34, 0.5, 5, 4), zeros_and_ones(35, 0.7, 5, 4).bool()),
        unit=DATUM,
    ),
    Known(
        "masked regression",
        masked_regression,
        evidence_of_regression,
        (normal(36, 6), torch.where(SEEN, normal(37, 6), torch.nan)),
    ),
    Known("ragged walks", ragged_walks, evidence_of_walks, (normal(38, 4, 4), LENGTHS), unit=DATUM),
    Known(
        "ragged vectors", ragged_vectors, evidence_of_walks, (normal(38, 4, 4), LENGTHS), unit=DATUM
    ),
]
