"""Diagnostics of importance weights, per datum: effective sample size and Pareto k."""

import numpy as np
import torch
from arviz_stats.base import array_stats
from numpy.typing import NDArray
from torch import Tensor

MAX_PARETO_K = 0.7
"""The shape of the weights' tail above which importance sampling is not dependable."""

_SMALLEST_TAIL = 5
"""The least number of tail weights to which a generalised Pareto distribution is fitted."""

_CONSTANT = 1e-5
"""Log weights that differ by less are equal up to rounding."""


def normalized_weights(log_weights: Tensor) -> Tensor:
    """The weights of the particles, per datum: a softmax over the particles.

    Args:
        log_weights: `(S, N)`.

    Returns:
        Weights of shape `(S, N)` that sum to one over S; equal ones where every weight is zero.

    Example:
        >>> normalized_weights(torch.tensor([[0.0], [float("-inf")]])).squeeze()
        tensor([1., 0.])
    """
    return torch.where(_all_zero(log_weights), 0.0, log_weights).softmax(0)


def effective_sample_size(log_weights: Tensor) -> Tensor:
    r"""Kish's effective sample size per datum, :math:`1 / \sum_s \bar w_s^2`.

    Args:
        log_weights: `(S, N)`.

    Returns:
        Between 1 and S, of shape `(N,)`; 0 where every weight is zero.

    Example:
        >>> effective_sample_size(torch.zeros(4, 1))
        tensor([4.])
    """
    size = 1 / normalized_weights(log_weights).square().sum(0)
    return torch.where(_all_zero(log_weights), 0.0, size)


def largest_weight(log_weights: Tensor) -> Tensor:
    """The share of the largest weight per datum.

    Args:
        log_weights: `(S, N)`.

    Returns:
        Between 1/S and 1, of shape `(N,)`; 1 where every weight is zero.

    Example:
        >>> largest_weight(torch.zeros(4, 1))
        tensor([0.2500])
    """
    largest = normalized_weights(log_weights).amax(0)
    return torch.where(_all_zero(log_weights), 1.0, largest)


def weight_diagnostics(log_weights: Tensor) -> dict[str, Tensor]:
    """All of these diagnostics by name: `ess`, `pareto_k` and `largest_weight`, `(N,)` each.

    Args:
        log_weights: `(S, N)`.

    Example:
        >>> sorted(weight_diagnostics(torch.zeros(100, 1)))
        ['ess', 'largest_weight', 'pareto_k']
    """
    return {
        "ess": effective_sample_size(log_weights),
        "pareto_k": pareto_k(log_weights),
        "largest_weight": largest_weight(log_weights),
    }


def pareto_k(log_weights: Tensor) -> Tensor:
    """The shape k of the generalised Pareto distribution fitted to the largest weights, per datum.

    Importance sampling is dependable below 0.7 and hopeless above 1. From Vehtari, Simpson, Gelman,
    Yao and Gabry, *Pareto smoothed importance sampling* (https://arxiv.org/abs/1507.02646), as
    ArviZ fits it.

    Args:
        log_weights: `(S, N)`.

    Returns:
        k of shape `(N,)`, never NaN: infinity where none can be fitted (S < 25, or next to the
        largest weights most of the others vanish), 0 where the largest weights are all equal.

    Example:
        >>> pareto_k(torch.zeros(100, 1)), pareto_k(torch.randn(10, 1))
        (tensor([0.]), tensor([inf]))
    """
    return smooth_weights(log_weights)[1]


def smooth_weights(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Pareto-smoothed log weights, per datum, and the shape k of their tail.

    The largest weights are replaced by the expected order statistics of the generalised Pareto
    distribution fitted to them, no larger than the largest weight was (Vehtari et al., section 2.1,
    https://arxiv.org/abs/1507.02646). Here they are then multiplied by one factor, so that their
    mean, the evidence, stays what it was: without bias.

    Args:
        log_weights: `(S, N)`.

    Returns:
        Log weights `(S, N)`, and k `(N,)` as of `pareto_k`. Where none can be fitted the weights
        are left alone.

    Example:
        >>> smoothed, k = smooth_weights(torch.randn(100, 2))
        >>> smoothed.shape, k.shape
        (torch.Size([100, 2]), torch.Size([2]))
    """
    columns = log_weights.detach().double().cpu().numpy().T
    fits = [_smooth_column(column) for column in columns]
    smoothed = torch.from_numpy(np.stack([column for column, _ in fits], -1)).to(log_weights)
    k = torch.tensor([k for _, k in fits], dtype=log_weights.dtype, device=log_weights.device)
    return smoothed, k


def _smooth_column(log_weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    num_tail = _tail_length(len(log_weights))
    tail = np.sort(log_weights)[-num_tail - 1 :]
    if num_tail < _SMALLEST_TAIL or not np.isfinite(tail).all():
        return log_weights, float("inf")
    if tail[-1] - tail[1] < _CONSTANT:
        return log_weights, 0.0
    weights = np.exp(tail - tail[-1])
    if weights[num_tail // 4] == weights[0]:
        return log_weights, float("inf")
    with np.errstate(all="ignore"):
        # arviz_stats expects log likelihoods, whose importance weights are their inverses.
        smoothed, k = array_stats.psislw(-log_weights)
    if not np.isfinite(k) or np.isnan(smoothed).any():  # NaN under a k where the fit underflows.
        return log_weights, float("inf")
    mean = np.logaddexp.reduce(log_weights) - np.logaddexp.reduce(smoothed)
    return smoothed + mean, float(k)


def _tail_length(num_particles: int) -> int:
    """The number of tail weights that the fit uses (equation 14 of the paper)."""
    return int(3 * num_particles**0.5 if num_particles > 225 else num_particles / 5)


def _all_zero(log_weights: Tensor) -> Tensor:
    return log_weights.amax(0) == -torch.inf
