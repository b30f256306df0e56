"""Hamiltonian moves for every rung of a ladder and every datum at once."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lvkam_pyro.ladder.chains import LadderState, Metric

LANGEVIN_ACCEPTANCE = 0.574
"""The acceptance at which one-step moves (MALA) travel fastest (Roberts and Rosenthal 1998)."""

Evaluate = Callable[[Tensor], LadderState]
"""The state of chains at positions `(T, C, N, D)`."""


def leapfrog(
    state: LadderState,
    temperatures: Tensor,
    metric: Metric,
    step: Tensor,
    evaluate: Evaluate,
    *,
    num_steps: int = 1,
) -> tuple[LadderState, Tensor]:
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
        metric: The preconditioner.
        step: The step sizes, `(T, 1 or C, N)`.
        evaluate: The target.
        num_steps: Steps of the trajectory.

    Returns:
        The state at its end, and probabilities `(T, C, N)`: 0 where a density is not a number, the
        end lies outside the support, or a step was not finite.

    References:
        Neal, R. (2011). MCMC using Hamiltonian dynamics, sections 2.3 and 5.2.
        https://arxiv.org/abs/1206.1901

    Example:
        >>> def normal(position):
        ...     log_prior, zeros = -position.square().sum(-1) / 2, position[..., 0] * 0
        ...     return LadderState(position, log_prior, zeros, -position, position * 0)
        >>> metric = Metric(torch.eye(2).expand(1, 1, 2, 2))
        >>> one, step = torch.ones(1, 1, 1), torch.full((1, 1, 1), 0.01)
        >>> moved, probability = leapfrog(normal(torch.ones(1, 3, 1, 2)), one, metric, step, normal)
        >>> probability.squeeze().round(decimals=3)
        tensor([1., 1., 1.])
    """
    size = step.unsqueeze(-1).to(state.position)
    start = momentum = torch.randn_like(state.position)
    here, drift = state, _drift(state, temperatures, metric)
    lost = torch.zeros_like(state.log_prior, dtype=torch.bool)
    for _ in range(num_steps):
        momentum = momentum + size / 2 * drift
        moved = here.position + size * metric.apply(momentum)
        finite = moved.isfinite().all(-1)
        here = evaluate(torch.where(finite.unsqueeze(-1), moved, state.position))
        drift = _drift(here, temperatures, metric)
        momentum = momentum + size / 2 * drift
        lost |= ~finite
    kinetic = (start.square() - momentum.square()).sum(-1) / 2
    log_ratio = here.log_target(temperatures) - state.log_target(temperatures) + kinetic
    probability = log_ratio.nan_to_num(nan=-math.inf).clamp(max=0).exp()
    return here, probability.masked_fill(lost, 0.0)


def _drift(state: LadderState, temperatures: Tensor, metric: Metric) -> Tensor:
    """The whitened gradient, no longer than five times the momentum's typical length."""
    drift = metric.pull_back(state.gradient(temperatures))
    limit = 5 * math.sqrt(drift.shape[-1])
    return drift * (limit / drift.norm(dim=-1, keepdim=True).clamp(min=limit))
