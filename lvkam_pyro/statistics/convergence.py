"""Convergence of many chains at once: R-hat, drift and effective sample size."""

import math

import torch
from torch import Tensor


def chain_rhat(draws: Tensor) -> Tensor:
    r"""The potential scale reduction between whole chains.

    .. math:: \hat R = \sqrt{(B / W + D - 1) / D}

    over C chains of D draws each (Gelman and Rubin 1992, https://doi.org/10.1214/ss/1177011136;
    here as in Vehtari, Gelman, Simpson, Carpenter and Bürkner, https://arxiv.org/abs/1903.08008,
    equation 4). Chains are not split: many short chains that have converged would be blamed for
    their shortness. `half_drift` finds what splitting finds, a move of all chains together.

    Args:
        draws: `(draws, chains, ...)`.

    Returns:
        One value for each of the remaining axes: 1 where all draws are equal, infinity where one
        is not finite.

    Example:
        >>> chain_rhat(torch.tensor([[0.0, 5.0], [1.0, 6.0], [0.0, 5.0], [1.0, 6.0]])) > 2
        tensor(True)
    """
    num_draws = len(draws)
    within = draws.var(0).mean(0)
    between = num_draws * draws.mean(0).var(0)
    ratio = torch.where(between == 0, 1.0, between / within)
    return ((ratio + num_draws - 1) / num_draws).sqrt().nan_to_num(torch.inf, torch.inf)


def half_drift(draws: Tensor) -> Tensor:
    """The move of the mean from the first to the second half, in standard errors over chains.

    Geweke's comparison (1992), with the chains' own differences as replicates: Student's t with
    C - 1 degrees of freedom for chains that have converged.

    Args:
        draws: `(draws, chains, ...)`, at least 2 draws.

    Returns:
        One value >= 0 for each of the remaining axes: 0 where nothing moves, infinity where a draw
        is not finite.

    Example:
        >>> half_drift(torch.tensor([[0.0, 0.1], [0.0, 0.0], [1.0, 1.0], [1.0, 1.1]])) > 10
        tensor(True)
    """
    half = len(draws) // 2
    moves = draws[-half:].mean(0) - draws[:half].mean(0)
    error = moves.std(0) / moves.shape[0] ** 0.5
    score = torch.where(moves.mean(0) == 0, 0.0, moves.mean(0).abs() / error)
    return score.nan_to_num(torch.inf, torch.inf)


def autocovariance(draws: Tensor) -> Tensor:
    """The autocovariance along the first axis, divided by the number of draws at every lag.

    Example:
        >>> autocovariance(torch.tensor([1.0, -1.0, 1.0, -1.0]))
        tensor([ 1.0000, -0.7500,  0.5000, -0.2500])
    """
    num_draws = len(draws)
    spectrum = torch.fft.rfft(draws - draws.mean(0), n=2 * num_draws, dim=0)
    power = spectrum.real.square() + spectrum.imag.square()
    return torch.fft.irfft(power, n=2 * num_draws, dim=0)[:num_draws] / num_draws


def chain_effective_sample_size(draws: Tensor) -> Tensor:
    r"""The number of independent draws whose mean is as exact as that of these chains.

    :math:`CD / (-1 + 2 \sum_k P_k)` with Geyer's initial monotone sequence of paired
    autocorrelations P (https://arxiv.org/abs/1903.08008, section 3.2).

    Args:
        draws: `(draws, chains, ...)`, at least 4 draws.

    Returns:
        One value for each of the remaining axes, at most CD log10(CD): all draws where they are
        equal, 0 where one is not finite.

    Example:
        >>> chain_effective_sample_size(torch.zeros(10, 2))
        tensor(20.)
    """
    num_draws, num_chains = draws.shape[:2]
    total = num_draws * num_chains
    covariance = autocovariance(draws).mean(1)
    within = covariance[0] * num_draws / (num_draws - 1)
    between = draws.mean(0).var(0) if num_chains > 1 else torch.zeros_like(within)
    correlation = 1 - (within - covariance) / (covariance[0] + between)
    correlation = torch.cat([torch.ones_like(correlation[:1]), correlation[1:]])
    tau = _geyer_sum(correlation)
    size = total / tau.clamp(min=1 / math.log10(total))
    constant = covariance[0] + between <= 0
    finite = draws.isfinite().all(0).all(0)
    return torch.where(finite, torch.where(constant, float(total), size), 0.0)


def _geyer_sum(correlation: Tensor) -> Tensor:
    """-1 + 2 sum of the paired autocorrelations, up to the first negative pair, not rising."""
    num_pairs = len(correlation) // 2
    paired = correlation[: 2 * num_pairs].unflatten(0, (num_pairs, 2)).sum(1)
    initial = torch.where((paired > 0).cumprod(0).bool(), paired, 0.0)
    return -1 + 2 * initial.cummin(0).values.sum(0)
