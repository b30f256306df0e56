"""Hamiltonian trajectories for every rung of a ladder and every datum at once."""

import math

import torch
from torch import Tensor

from lvkam_pyro.ladder.adaptation import Metric, Tuning
from lvkam_pyro.ladder.state import GradientState
from lvkam_pyro.ladder.target import Evaluate

LANGEVIN_ACCEPTANCE = 0.574
"""The acceptance at which one-step moves (MALA) travel fastest (Roberts and Rosenthal 1998)."""

MAX_LANGEVIN_COORDINATES = 100
_NUM_STEPS = 8
_HAMILTONIAN_ACCEPTANCE = 0.75
_JITTER = 0.2


def leapfrog(
    state: GradientState,
    temperatures: Tensor,
    tuning: Tuning,
    evaluate: Evaluate,
    *,
    num_steps: int = 1,
    jitter: float = 0.0,
) -> tuple[GradientState, Tensor]:
    r"""A trajectory from a fresh momentum, and the probability with which it is accepted.

    .. math:: p \leftarrow p + \tfrac{\epsilon}{2} w(u), \quad
              u \leftarrow u + \epsilon L p, \quad
              p \leftarrow p + \tfrac{\epsilon}{2} w(u), \qquad w = L' \nabla \log \pi_t

    in the whitened coordinates of the metric. One step is a move of MALA,
    :math:`u' = u + \epsilon L (\xi + \epsilon w / 2)`, whose ratio of proposal densities is the
    momentum's. The drift w is truncated (Roberts and Tweedie 1996), so that chains far from the
    mass do not overshoot; any function of u in its place leaves the map reversible and its volume
    1, so the acceptance is exact.

    Args:
        state: Where the chains stand.
        temperatures: `(T, 1, 1)`.
        tuning: The preconditioner and the step sizes.
        evaluate: The target.
        num_steps: Steps of the trajectory.
        jitter: Each trajectory's step is longer or shorter by up to this share.

    Returns:
        The state at its end, and probabilities `(T, C, N)`: 0 where a density is not a number, the
        end lies outside the support, or a step was not finite.

    References:
        Neal, R. (2011). MCMC using Hamiltonian dynamics, sections 2.3 and 5.2.
        https://arxiv.org/abs/1206.1901

    Example:
        >>> def normal(position):
        ...     log_prior, zeros = -position.square().sum(-1) / 2, position[..., 0] * 0
        ...     return GradientState(position, zeros, log_prior, -position, position * 0)
        >>> tuning = Tuning(Metric(torch.eye(2).expand(1, 1, 2, 2)), torch.full((1, 1), 0.01))
        >>> state, one = normal(torch.ones(1, 3, 1, 2)), torch.ones(1, 1, 1)
        >>> moved, probability = leapfrog(state, one, tuning, normal)
        >>> probability.squeeze().round(decimals=3)
        tensor([1., 1., 1.])
    """
    size = _sizes(state, tuning, jitter).unsqueeze(-1).to(state.position)
    start = momentum = torch.randn_like(state.position)
    here, drift = state, _drift(state, temperatures, tuning.metric)
    lost = torch.zeros_like(state.log_prior, dtype=torch.bool)
    for _ in range(num_steps):
        momentum = momentum + size / 2 * drift
        moved = here.position + size * tuning.metric.apply(momentum)
        finite = moved.isfinite().all(-1)
        here = evaluate(torch.where(finite.unsqueeze(-1), moved, state.position))
        drift = _drift(here, temperatures, tuning.metric)
        momentum = momentum + size / 2 * drift
        lost |= ~finite
    kinetic = (start.square() - momentum.square()).sum(-1) / 2
    log_ratio = here.log_target(temperatures) - state.log_target(temperatures) + kinetic
    probability = log_ratio.nan_to_num(nan=-math.inf).clamp(max=0).exp()
    return here, probability.masked_fill(lost, 0.0)


def _sizes(state: GradientState, tuning: Tuning, jitter: float) -> Tensor:
    """The step sizes, `(T, 1 or C, N)`."""
    step = tuning.step[:, None]
    if jitter == 0:
        return step
    return step * (1 + jitter * (2 * torch.rand_like(state.log_prior) - 1))


def _drift(state: GradientState, temperatures: Tensor, metric: Metric) -> Tensor:
    """The whitened gradient, no longer than five times the momentum's typical length."""
    drift = metric.pull_back(state.gradient(temperatures))
    limit = 5 * math.sqrt(drift.shape[-1])
    return drift * (limit / drift.norm(dim=-1, keepdim=True).clamp(min=limit))


def steps_and_acceptance(num_coordinates: int) -> tuple[int, float]:
    """The steps of a population's trajectories, and the acceptance at which they travel fastest.

    One-step moves diffuse: in many coordinates, whose covariance is not learned, it takes
    trajectories to cross the density (Neal 2011, section 5.2).

    Example:
        >>> steps_and_acceptance(100), steps_and_acceptance(101)
        ((1, 0.574), (8, 0.75))
    """
    is_small = num_coordinates <= MAX_LANGEVIN_COORDINATES
    return (1, LANGEVIN_ACCEPTANCE) if is_small else (_NUM_STEPS, _HAMILTONIAN_ACCEPTANCE)


def metropolis_step(
    state: GradientState, temperatures: Tensor, tuning: Tuning, evaluate: Evaluate
) -> tuple[GradientState, Tensor]:
    """One move of all chains: the state, and the acceptance probabilities `(T, C, N)`.

    A step of MALA up to 100 coordinates, a trajectory of HMC above.

    Example:
        >>> def normal(position):
        ...     log_prior, zeros = -position.square().sum(-1) / 2, position[..., 0] * 0
        ...     return GradientState(position, zeros, log_prior, -position, position * 0)
        >>> tuning = Tuning(Metric(torch.ones(2, 3, 1, 1)), torch.ones(2, 3))
        >>> state, one = normal(torch.zeros(2, 4, 3, 1)), torch.ones(2, 1, 1)
        >>> metropolis_step(state, one, tuning, normal)[1].shape
        torch.Size([2, 4, 3])
    """
    num_steps = steps_and_acceptance(state.position.shape[-1])[0]
    jitter = _JITTER if num_steps > 1 else 0.0
    proposed, probability = leapfrog(
        state, temperatures, tuning, evaluate, num_steps=num_steps, jitter=jitter
    )
    return state.where(torch.rand_like(probability) < probability, proposed), probability
