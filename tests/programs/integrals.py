"""Integrals that give programs' evidence: the trapezoid rule, normal densities, forward sums."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal


def grid(low: float, high: float, num_nodes: int = 401) -> Tensor:
    """Equally spaced nodes in double precision."""
    return torch.linspace(low, high, num_nodes, dtype=torch.float64)


def log_integral(log_density: Callable[..., Tensor], *grids: Tensor) -> Tensor:
    """Log of an integral over a box, by the trapezoid rule on every axis.

    Integrands that vanish with all derivatives at the ends converge exponentially.

    Args:
        log_density: Function of one tensor an axis, `(1, .., G, .., 1)` each, whose value has the
            axes `(G_1, .., G_K)` and then any others.
        *grids: The nodes of each axis, `(G_k,)`.

    Returns:
        The other axes.
    """
    count = len(grids)
    axes = [
        nodes.reshape([-1 if axis == own else 1 for axis in range(count)])
        for own, nodes in enumerate(grids)
    ]
    values = log_density(*axes)
    for nodes in grids:
        values = torch.logsumexp(values + _log_weights(nodes, values.ndim), 0)
    return values


def _log_weights(nodes: Tensor, ndim: int) -> Tensor:
    weights = torch.full_like(nodes, float(nodes[1] - nodes[0]))
    weights[[0, -1]] /= 2
    return weights.log().reshape(-1, *(1,) * (ndim - 1))


def log_normal_density(x: Tensor, covariance: Tensor, loc: Tensor | float = 0.0) -> Tensor:
    """Log N(x; loc, covariance) in double precision; x of shape `(..., D)`."""
    covariance = covariance.double()
    mean = torch.as_tensor(loc, dtype=torch.float64).expand(covariance.shape[-1:])
    return MultivariateNormal(mean, covariance).log_prob(x.double())


def log_forward(start: Tensor, transition: Tensor, log_emission: Tensor) -> Tensor:
    """Log of the sum over all paths of a hidden Markov chain, by the forward algorithm.

    Args:
        start: Probabilities of the first state, `(K,)`.
        transition: `(K, K)`, from rows to columns.
        log_emission: `(T, ..., K)`.

    Returns:
        `(...)`.
    """
    state = start.log() + log_emission[0]
    for log_density in log_emission[1:]:
        moved = torch.logsumexp(state[..., :, None] + transition.log(), -2)
        state = moved + log_density
    return torch.logsumexp(state, -1)
