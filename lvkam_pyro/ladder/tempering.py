"""A start for every rung of a ladder: particles carried from the prior to the posterior."""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lvkam_pyro.ladder.adaptation import blend, second_moment
from lvkam_pyro.ladder.chains import LadderState, Metric
from lvkam_pyro.ladder.leapfrog import LANGEVIN_ACCEPTANCE, leapfrog
from lvkam_pyro.statistics.weights import effective_sample_size, normalized_weights
from lvkam_pyro.tracing.unconstrained import UnconstrainedModel

# Few chains still start from many particles: what decides between modes is the population, and it
# costs a fifth of the chains.
_MIN_POPULATION = 320
_PARTICLES_PER_CHAIN = 4
_NUM_MOVES = 3


@dataclass(frozen=True)
class Start:
    """Where the chains begin, and a first guess of what they will learn.

    Attributes:
        state: The chains at every temperature.
        covariance: `(T, N, D, D)` or `(T, N, D)`.
        log_step: `(T, N)`.
    """

    state: LadderState
    covariance: Tensor
    log_step: Tensor


def evaluate_state(target: UnconstrainedModel, position: Tensor) -> LadderState:
    """The state of chains at positions `(T, C, N, D)`, by one run of the model.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.structure import ModelStructure
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(3)
        >>> target = UnconstrainedModel(model, x, ModelStructure.of(model, x))
        >>> evaluate_state(target, torch.zeros(2, 4, 3, 1)).log_likelihood.shape
        torch.Size([2, 4, 3])
    """
    rungs = position.shape[:2]
    evaluation = target.evaluate(position.flatten(0, 1))
    return LadderState(
        position,
        evaluation.log_prior.unflatten(0, rungs),
        evaluation.log_likelihood.unflatten(0, rungs),
        evaluation.prior_gradient.unflatten(0, rungs),
        evaluation.likelihood_gradient.unflatten(0, rungs),
    )


def temper(target: UnconstrainedModel, temperatures: Tensor, num_chains: int) -> Start:
    """Carry a population from the prior up the ladder: reweight, resample, move, at each rung.

    It is a tempered sequential Monte Carlo sampler (Del Moral, Doucet and Jasra 2006,
    https://doi.org/10.1111/j.1467-9868.2006.00553.x) with three moves a rung: good enough to start
    chains from, whose warm-up forgets it.

    Args:
        target: The model.
        temperatures: `(T,)`, rising from 0.
        num_chains: The number of chains wanted at each.

    Returns:
        The start.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.structure import ModelStructure
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(3)
        >>> target = UnconstrainedModel(model, x, ModelStructure.of(model, x))
        >>> temper(target, torch.linspace(0, 1, 4).double(), 8).state.position.shape
        torch.Size([4, 8, 3, 1])
    """
    population = Tempering(target, max(_PARTICLES_PER_CHAIN * num_chains, _MIN_POPULATION))
    rungs = [population.rung]
    for temperature in temperatures[1:]:
        population.advance(temperature.expand(target.num_data))
        rungs.append(population.rung)
    fields = zip(*(rung.state.tensors for rung in rungs), strict=True)
    return Start(
        LadderState(*(torch.cat(tensors)[:, :num_chains] for tensors in fields)),
        torch.cat([rung.covariance for rung in rungs]),
        torch.cat([rung.log_step for rung in rungs]),
    )


class Tempering:
    """A population of each datum on its way from prior to posterior, learning how to move.

    Args:
        target: The model.
        size: The number of particles.

    Attributes:
        temperature: Where each datum's population stands, `(N,)`.
        rung: The population `(1, S, N)` there, and the covariance and step size it has learned.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.structure import ModelStructure
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(2)
        >>> population = Tempering(UnconstrainedModel(model, x, ModelStructure.of(model, x)), 64)
        >>> population.advance(torch.tensor([0.5, 1.0]).double())
        >>> population.rung.state.log_likelihood.shape
        torch.Size([1, 64, 2])
    """

    def __init__(self, target: UnconstrainedModel, size: int) -> None:
        self.target = target
        state = evaluate_state(target, draw_finite_prior(target, size)[None])
        covariance = covariance_of(state.position)
        log_step = torch.full_like(covariance[..., 0], initial_log_step(target.num_coordinates))
        self.rung = Start(state, covariance, log_step.reshape(1, target.num_data, -1)[..., 0])
        self.temperature = torch.zeros_like(self.rung.log_step[0])

    def advance(self, temperature: Tensor) -> None:
        """Reweight, resample and move to the next temperature of each datum, `(N,)`."""
        gap = temperature - self.temperature
        state, covariance = _reweight(self.rung.state, gap, self.rung.covariance)
        self.rung = Start(
            *_move(self.target, state, temperature[None, None], covariance, self.rung.log_step)
        )
        self.temperature = temperature


def initial_log_step(num_coordinates: int) -> float:
    """The step's known scaling with the dimension: D to the power -1/6.

    Example:
        >>> math.exp(initial_log_step(64))
        0.5
    """
    return -math.log(num_coordinates) / 6


def draw_finite_prior(target: UnconstrainedModel, num_draws: int) -> Tensor:
    """Prior draws `(draws, N, D)`, a neighbour's in place of one rounded to a boundary.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.structure import ModelStructure
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(3)
        >>> target = UnconstrainedModel(model, x, ModelStructure.of(model, x))
        >>> draw_finite_prior(target, 5).shape
        torch.Size([5, 3, 1])
    """
    position = target.draw_prior(num_draws)
    finite = position.isfinite().all(-1, keepdim=True)
    return torch.where(finite, position, position.roll(1, 0).nan_to_num(0.0, 0.0, 0.0))


def covariance_of(position: Tensor) -> Tensor:
    """The covariance over the chains of positions `(T, C, N, D)`, or their variances.

    Example:
        >>> covariance_of(torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1)).squeeze()
        tensor(1., dtype=torch.float64)
    """
    deviation = position - position.mean(1, keepdim=True)
    return second_moment(deviation) / position.shape[1]


def _reweight(
    population: LadderState, gap: Tensor, covariance: Tensor
) -> tuple[LadderState, Tensor]:
    """Resample a population for the next temperature, and learn its covariance from the weights."""
    log_weights = tempered(gap, population.log_likelihood[0])
    weights = normalized_weights(log_weights)
    mean = (weights[..., None] * population.position[0]).sum(0)
    deviation = weights.sqrt()[None, ..., None] * (population.position - mean)
    size = effective_sample_size(log_weights).reshape(1, -1, *(1,) * (covariance.ndim - 2))
    learned = blend(second_moment(deviation), size, covariance)
    index = torch.multinomial(weights.T, len(weights), replacement=True).T[None]
    return select(population, index), learned


def tempered(power: Tensor, log_likelihood: Tensor) -> Tensor:
    """A log likelihood times a power: 0 at power 0, whatever it is.

    Example:
        >>> tempered(torch.tensor([0.0, 0.5]), torch.tensor([float("-inf"), 2.0]))
        tensor([0., 1.])
    """
    return torch.where(power == 0, 0.0, power * log_likelihood)


def select(population: LadderState, index: Tensor) -> LadderState:
    """The chains of given index `(1, C, N)`, per datum.

    Example:
        >>> l = torch.tensor([3.0, 1.0]).reshape(1, 2, 1)
        >>> state = LadderState(l[..., None], l, l, l[..., None], l[..., None])
        >>> select(state, torch.tensor([1, 1]).reshape(1, 2, 1)).log_likelihood.squeeze()
        tensor([1., 1.])
    """
    return LadderState(
        *(
            torch.take_along_dim(tensor, index if tensor.ndim == 3 else index[..., None], 1)
            for tensor in population.tensors
        )
    )


def _move(
    target: UnconstrainedModel,
    state: LadderState,
    temperature: Tensor,
    covariance: Tensor,
    log_step: Tensor,
) -> tuple[LadderState, Tensor, Tensor]:
    """A few steps at one temperature; returns the state, its covariance and the step size."""
    metric = Metric.of(covariance, state.position.dtype)
    for _ in range(_NUM_MOVES):
        state, probability = transition(target, state, temperature, metric, log_step.exp())
        log_step = log_step + probability.mean(1) - LANGEVIN_ACCEPTANCE
    learned = covariance_of(state.position)
    return state, blend(learned, float(state.position.shape[1]), covariance), log_step


def transition(
    target: UnconstrainedModel,
    state: LadderState,
    temperatures: Tensor,
    metric: Metric,
    step: Tensor,
) -> tuple[LadderState, Tensor]:
    """One MALA step of every chain; returns the state and the acceptance probabilities.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.structure import ModelStructure
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(3)
        >>> target = UnconstrainedModel(model, x, ModelStructure.of(model, x))
        >>> state, one = evaluate_state(target, torch.zeros(2, 4, 3, 1)), torch.ones(2, 1, 1)
        >>> metric = Metric(torch.ones(2, 3, 1, 1))
        >>> transition(target, state, one, metric, torch.ones(2, 3))[1].shape
        torch.Size([2, 4, 3])
    """
    proposed, probability = leapfrog(
        state, temperatures, metric, step[:, None], partial(evaluate_state, target)
    )
    accepted = torch.rand_like(probability) < probability
    return state.where(accepted, proposed), probability
