"""Programs of sequences: lags, random walks, hidden Markov chains, change points."""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.special import gammaln

from tests.programs.integrals import grid, log_forward, log_integral, log_normal_density
from tests.programs.known import DATUM, Known, counts, normal, zeros_and_ones

PARALLEL = {"enumerate": "parallel"}


def autoregression(x: Tensor) -> None:
    """Each value leans on the one before it; coefficient and noise are shared."""
    phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
    sigma = pyro.sample("sigma", dist.LogNormal(0.0, 0.5))
    with pyro.plate("time", len(x) - 1):
        pyro.sample("x", dist.Normal(phi * x[:-1], sigma), obs=x[1:])


def evidence_of_autoregression(x: Tensor) -> Tensor:
    before, after = x[:-1].double(), x[1:].double()

    def log_density(phi: Tensor, log_sigma: Tensor) -> Tensor:
        log_prior = dist.Normal(0.0, 1.0).log_prob(phi) + dist.Normal(0.0, 0.5).log_prob(log_sigma)
        loc, scale = phi[..., None] * before, log_sigma.exp()[..., None]
        return log_prior + dist.Normal(loc, scale).log_prob(after).sum(-1)

    return log_integral(log_density, grid(-5.0, 5.0, 801), grid(-3.0, 3.0, 401))


def lag_of_the_batch(x: Tensor) -> None:
    """The loc of a row is read from the row before it, and each row has a latent of its own."""
    before = torch.cat([torch.zeros(1), x[:-1]])
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(0.8 * before + 0.5 * z, 0.5), obs=x)


def evidence_of_lag_of_the_batch(x: Tensor) -> Tensor:
    before = torch.cat([torch.zeros(1), x[:-1]])
    return dist.Normal(0.8 * before, 0.5**0.5).log_prob(x)


def local_level(x: Tensor) -> None:
    """A level that walks, step by step, under noise."""
    level = torch.zeros(())
    for t in range(len(x)):
        level = pyro.sample(f"level_{t}", dist.Normal(level, 0.5))
        pyro.sample(f"x_{t}", dist.Normal(level, 1.0), obs=x[t])


def markov_level(x: Tensor) -> None:
    """The same with `pyro.markov`, as Pyro's tutorials write it."""
    level = torch.zeros(())
    for t in pyro.markov(range(len(x))):
        level = pyro.sample(f"level_{t}", dist.Normal(level, 0.5))
        pyro.sample(f"x_{t}", dist.Normal(level, 1.0), obs=x[t])


def summed_level(x: Tensor) -> None:
    """The same by a cumulative sum of steps in one plate: the rows' latents act together."""
    with pyro.plate("time", len(x)):
        steps = pyro.sample("steps", dist.Normal(0.0, 0.5))
        pyro.sample("x", dist.Normal(steps.cumsum(-1), 1.0), obs=x)


def evidence_of_level(x: Tensor) -> Tensor:
    times = torch.arange(1.0, len(x) + 1)
    return log_normal_density(x, 0.25 * torch.minimum(times[:, None], times) + torch.eye(len(x)))


def kalman_filter(x: Tensor) -> None:
    """A Gaussian chain as one distribution, of which one scale is unknown."""
    scale = pyro.sample("scale", dist.LogNormal(-0.5, 0.5))
    one = torch.ones(1, 1)
    start = dist.Normal(torch.zeros(1), 1.0).to_event(1)
    step = dist.Normal(torch.zeros(1), scale[..., None, None]).to_event(1)
    noise = dist.Normal(torch.zeros(1), 0.7).to_event(1)
    chain = dist.GaussianHMM(start, one, step, one, noise, duration=len(x))
    pyro.sample("x", chain, obs=x[:, None])


def evidence_of_kalman_filter(x: Tensor) -> Tensor:
    times = torch.arange(1.0, len(x) + 1, dtype=torch.float64)
    walk = torch.minimum(times[:, None], times)
    fixed = 1.0 + 0.49 * torch.eye(len(x), dtype=torch.float64)

    def log_density(log_scale: Tensor) -> Tensor:
        covariance = fixed + (2 * log_scale).exp()[:, None, None] * walk
        mvn = dist.MultivariateNormal(torch.zeros(len(x), dtype=torch.float64), covariance)
        return dist.Normal(-0.5, 0.5).log_prob(log_scale) + mvn.log_prob(x.double())

    return log_integral(log_density, grid(-5.0, 4.0, 801))


START = torch.tensor([0.6, 0.4])
TRANSITION = torch.tensor([[0.9, 0.1], [0.3, 0.7]])


def hidden_chain(x: Tensor) -> None:
    """A hidden Markov chain all of whose parameters are known."""
    probs = START
    for t in pyro.markov(range(len(x))):
        state = pyro.sample(f"state_{t}", dist.Categorical(probs), infer=PARALLEL)
        probs = TRANSITION[state]
        pyro.sample(f"x_{t}", dist.Normal(2.0 * state, 1.0), obs=x[t])


def evidence_of_hidden_chain(x: Tensor) -> Tensor:
    log_emission = dist.Normal(2 * torch.arange(2.0), 1.0).log_prob(x[:, None]).double()
    return log_forward(START.double(), TRANSITION.double(), log_emission)


def hidden_chain_of_unknown_levels(x: Tensor) -> None:
    """The levels of the states are shared and unknown."""
    with pyro.plate("states", 2):
        levels = pyro.sample("levels", dist.Normal(torch.tensor([0.0, 2.0]), 1.0))
    probs = START
    for t in pyro.markov(range(len(x))):
        state = pyro.sample(f"state_{t}", dist.Categorical(probs), infer=PARALLEL)
        probs = TRANSITION[state]
        level = torch.where(state == 0, levels[..., :1], levels[..., 1:])
        pyro.sample(f"x_{t}", dist.Normal(level, 0.8), obs=x[t])


def hidden_chain_by_vindex(x: Tensor) -> None:
    """The same as Pyro's own examples index: by `Vindex`, the levels one vector."""
    levels = pyro.sample("levels", dist.Normal(torch.tensor([0.0, 2.0]), 1.0).to_event(1))
    state = torch.zeros((), dtype=torch.long)
    for t in pyro.markov(range(len(x))):
        probs = START if t == 0 else TRANSITION[state]
        state = pyro.sample(f"state_{t}", dist.Categorical(probs), infer=PARALLEL)
        level = pyro.ops.indexing.Vindex(levels)[..., state]
        pyro.sample(f"x_{t}", dist.Normal(level, 0.8), obs=x[t])


def evidence_of_unknown_levels(x: Tensor) -> Tensor:
    """The forward algorithm at every node of a quadrature over both levels."""

    def log_density(low: Tensor, high: Tensor) -> Tensor:
        log_prior = dist.Normal(0.0, 1.0).log_prob(low) + dist.Normal(2.0, 1.0).log_prob(high)
        levels = torch.stack(torch.broadcast_tensors(low, high), -1)
        log_emission = dist.Normal(levels, 0.8).log_prob(x.double()[:, None, None, None])
        return log_prior + log_forward(START.double(), TRANSITION.double(), log_emission)

    return log_integral(log_density, grid(-6.0, 6.0, 201), grid(-4.0, 8.0, 201))


LENGTHS = torch.tensor([5, 3, 4])
NOTES = torch.tensor([[0.8, 0.3], [0.2, 0.6]])
"""The probability of each of two notes in each of two states."""


def chains_of_notes(sequences: Tensor, lengths: Tensor) -> None:
    """The first model of Pyro's HMM example: ragged sequences of notes, a plate of each."""
    tones = pyro.plate("tones", sequences.shape[-1], dim=-1)
    with pyro.plate("sequences", len(sequences), dim=-2) as batch:
        own = lengths[batch]
        state = 0
        for t in pyro.markov(range(sequences.shape[1])):
            with pyro.poutine.mask(mask=(t < own).unsqueeze(-1)):
                probs = START if t == 0 else TRANSITION[state]
                state = pyro.sample(f"state_{t}", dist.Categorical(probs), infer=PARALLEL)
                with tones:
                    probs_of_notes = NOTES[state.squeeze(-1)]
                    played = dist.Bernoulli(probs_of_notes)
                    pyro.sample(f"notes_{t}", played, obs=sequences[batch, t])


def evidence_of_chains(sequences: Tensor, lengths: Tensor) -> Tensor:
    log_emission = dist.Bernoulli(NOTES.double()).log_prob(sequences[..., None, :].double()).sum(-1)
    chains = zip(log_emission, lengths.tolist(), strict=True)
    start, transition = START.double(), TRANSITION.double()
    return torch.stack([log_forward(start, transition, own[:length]) for own, length in chains])


def change_point(x: Tensor) -> None:
    """Coal mining: the rate of accidents changes in an unknown year."""
    early = pyro.sample("early", dist.Gamma(2.0, 1.0))
    late = pyro.sample("late", dist.Gamma(2.0, 1.0))
    uniform = dist.Categorical(torch.ones(len(x)) / len(x))
    tau = pyro.sample("tau", uniform, infer=PARALLEL)
    with pyro.plate("years", len(x)) as year:
        rate = torch.where(year <= tau, early, late)
        pyro.sample("x", dist.Poisson(rate), obs=x)


def evidence_of_change_point(x: Tensor) -> Tensor:
    """Each year's two rates are integrated in closed form."""
    terms = [log_gamma_poisson(x[: k + 1]) + log_gamma_poisson(x[k + 1 :]) for k in range(len(x))]
    return torch.stack(terms).logsumexp(0) - math.log(len(x))


def log_gamma_poisson(x: Tensor) -> Tensor:
    """Counts of one rate from Gamma(2, 1)."""
    total = 2.0 + x.double().sum()
    return gammaln(total) - total * math.log(1.0 + len(x)) - gammaln(x.double() + 1).sum()


LEVELS = 2.0 * (torch.arange(50) // 10 % 2)
WALK = normal(21, 6).cumsum(0)

PROGRAMS = [
    Known("autoregression", autoregression, evidence_of_autoregression, (WALK,)),
    Known(
        "lag of the batch",
        lag_of_the_batch,
        evidence_of_lag_of_the_batch,
        (normal(22, 10),),
        unit=DATUM,
    ),
    Known("local level", local_level, evidence_of_level, (WALK,)),
    Known("local level in pyro.markov", markov_level, evidence_of_level, (WALK,)),
    Known("local level as a sum", summed_level, evidence_of_level, (WALK,)),
    Known("Kalman filter", kalman_filter, evidence_of_kalman_filter, (WALK,)),
    Known(
        "hidden chain of 50 steps",
        hidden_chain,
        evidence_of_hidden_chain,
        (LEVELS + normal(23, 50),),
    ),
    Known(
        "hidden chain of unknown levels",
        hidden_chain_of_unknown_levels,
        evidence_of_unknown_levels,
        (LEVELS[4:16] + 0.8 * normal(24, 12),),
    ),
    Known(
        "hidden chain by Vindex",
        hidden_chain_by_vindex,
        evidence_of_unknown_levels,
        (LEVELS[4:16] + 0.8 * normal(24, 12),),
    ),
    Known(
        "chains of notes",
        chains_of_notes,
        evidence_of_chains,
        (zeros_and_ones(25, 0.4, 3, 5, 2), LENGTHS),
        unit=DATUM,
    ),
    Known(
        "change point",
        change_point,
        evidence_of_change_point,
        (torch.cat([counts(26, 4.0, 6), counts(27, 1.0, 5)]),),
    ),
]
