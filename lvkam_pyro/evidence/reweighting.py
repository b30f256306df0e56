"""Normalisers at all temperatures of a ladder at once, from all of its draws."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.ladder.state import tempered

_MAX_ELEMENTS = 2**22
"""Responsibilities held at once (32 MB)."""

_MAX_ITERATIONS = 100
_TOLERANCE = 1e-10
_RIDGE = 1e-12


@dataclass(frozen=True)
class Reweighting:
    r"""Draws of all temperatures, read as draws from the mixture of their densities.

    .. math:: \log Z_k = \log \frac1M \sum_s \frac{e^{t_k l_s}}
        {\frac1T \sum_j e^{t_j l_s} / Z_j}, \qquad Z_0 = 1

    The equations of the multistate Bennett acceptance ratio (Shirts and Chodera 2008,
    https://doi.org/10.1063/1.2978177, equation 11) for equally many draws at each temperature. They
    are the stationary points of a convex function of the log Z, which Newton's method finds with
    steps damped so that each one descends (Sun and Tran-Dinh 2019,
    https://doi.org/10.1007/s10107-018-1282-4, section 3).

    Attributes:
        temperatures: `(T,)`, rising from 0.
        log_likelihood: All draws of each chain, `(C, D T, N)` in float64.
        log_normalizer: log Z, `(T, N)`; minus infinity above 0 where no draw is possible.

    Example:
        >>> t = torch.tensor([0.0, 1.0], dtype=torch.float64)
        >>> draws = torch.full((6, 2, 2, 3), -4.0, dtype=torch.float64)
        >>> Reweighting.of(t, draws, torch.zeros(2, 3).double()).log_normalizer[1]
        tensor([-4., -4., -4.], dtype=torch.float64)
    """

    temperatures: Tensor
    log_likelihood: Tensor
    log_normalizer: Tensor

    @classmethod
    def of(cls, temperatures: Tensor, log_likelihood: Tensor, start: Tensor) -> "Reweighting":
        """Solve for the normalisers.

        Args:
            temperatures: `(T,)`, rising from 0.
            log_likelihood: `(D, C, T, N)` in float64.
            start: A first guess of log Z, `(T, N)`.
        """
        draws = log_likelihood.transpose(0, 1).flatten(1, 2)
        possible = draws.isfinite().any(0).any(0)
        blocks = _blocks(draws, len(temperatures), start)
        solved = torch.cat([_solve(temperatures, *block) for block in blocks], -1)
        impossible = torch.where(temperatures > 0, -torch.inf, 0.0)[:, None]
        return cls(temperatures, draws, torch.where(possible, solved, impossible))

    def leave_one_out(self) -> tuple[Tensor, Tensor]:
        """The log evidence without each chain, and the overlap of neighbouring temperatures.

        Each is one Newton step from the solution with all chains, which is exact to the second
        order in what a chain changes. The overlap is the share of a temperature's draws that could
        as well be its neighbour's (Klimovich, Shirts and Mobley 2015,
        https://doi.org/10.1007/s10822-015-9840-9, equation 6).

        Returns:
            `(C, N)`, and the least overlap `(N,)`.
        """
        start = self.log_normalizer.nan_to_num(0.0, 0.0, 0.0)
        blocks = _blocks(self.log_likelihood, len(self.temperatures), start)
        parts = [_leave_one_out(self.temperatures, *block) for block in blocks]
        others, overlap = (torch.cat(tensors, -1) for tensors in zip(*parts, strict=True))
        possible = self.log_normalizer[-1].isfinite()
        return torch.where(possible, others, -torch.inf), torch.where(possible, overlap, 0.0)


def _blocks(
    draws: Tensor, num_temperatures: int, per_temperature: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of data, small enough to hold each draw at each temperature."""
    num_data = draws.shape[-1]
    num_blocks = math.ceil(draws.numel() * num_temperatures / _MAX_ELEMENTS)
    sizes = min(num_blocks, num_data)
    return zip(draws.tensor_split(sizes, -1), per_temperature.tensor_split(sizes, -1), strict=True)


def _responsibilities(temperatures: Tensor, draws: Tensor, log_normalizer: Tensor) -> Tensor:
    """The probability that a draw came from each temperature, `(..., T, N)`."""
    return (tempered(temperatures[:, None], draws[..., None, :]) - log_normalizer).softmax(-2)


def _hessian(shares: Tensor, mean: Tensor, num_draws: int) -> Tensor:
    """Diag(mean r) - mean(r r') over the draws `(C, M, T, N)`: `(C, N, T - 1, T - 1)`."""
    above = shares[..., 1:, :].permute(0, 3, 2, 1)
    products = above @ above.mT / num_draws
    ridge = _RIDGE * torch.eye(products.shape[-1], dtype=products.dtype, device=products.device)
    return torch.diag_embed(mean[:, 1:].mT) - products + ridge


def _solve(temperatures: Tensor, draws: Tensor, start: Tensor) -> Tensor:
    """The stationary point, `(T, N)`, for draws `(C, M, N)`."""
    guess = start.nan_to_num(0.0, 0.0, 0.0)
    solution = guess - guess[:1]
    pooled = draws.flatten(0, 1)[None]
    for _ in range(_MAX_ITERATIONS):
        shares = _responsibilities(temperatures, pooled, solution)
        mean = shares.mean(1)
        gradient = 1 / len(temperatures) - mean[0, 1:].T
        step = torch.linalg.solve(_hessian(shares, mean, pooled.shape[1])[0], gradient).T
        length = (step.amax(0).clamp(min=0) - step.amin(0).clamp(max=0)).clamp(min=1e-30)
        solution[1:] -= length.log1p() / length * step
        if not bool((length > _TOLERANCE).any()):
            break
    return solution


def _leave_one_out(temperatures: Tensor, draws: Tensor, solution: Tensor) -> tuple[Tensor, Tensor]:
    """One Newton step for each chain left out: log evidences `(C, N)`; and the overlap `(N,)`."""
    num_chains, num_temperatures = len(draws), len(temperatures)
    num_draws = draws.shape[0] * draws.shape[1]
    shares = _responsibilities(temperatures, draws, solution)
    chain_mean = shares.sum(1) / num_draws
    chain_hessian = _hessian(shares, chain_mean, num_draws)
    gradient = (chain_mean - 1 / (num_chains * num_temperatures))[:, 1:].mT
    hessian = chain_hessian.sum(0) - chain_hessian
    step = torch.linalg.solve(hessian, gradient)
    overlap = num_temperatures * (shares[..., 1:, :] * shares[..., :-1, :]).mean((0, 1))
    return solution[-1] - step[..., -1], overlap.amin(0)
