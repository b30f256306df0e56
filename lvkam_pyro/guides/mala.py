"""The Metropolis-adjusted Langevin algorithm for every rung of a ladder and every datum at once."""

import math
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

TARGET_ACCEPTANCE = 0.574
"""The acceptance at which MALA moves fastest (Roberts and Rosenthal 1998)."""


@dataclass(frozen=True)
class LadderState:
    """Where the chains stand: `T` temperatures, `C` chains, `N` data, `D` coordinates.

    Attributes:
        position: `(T, C, N, D)`.
        log_prior: `(T, C, N)`.
        log_likelihood: `(T, C, N)`.
        prior_gradient: `(T, C, N, D)`.
        likelihood_gradient: `(T, C, N, D)`.

    Example:
        >>> zeros, vectors = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4, 5)
        >>> state = LadderState(vectors, zeros, zeros, vectors, vectors)
        >>> other = LadderState(vectors + 1, zeros, zeros, vectors, vectors)
        >>> state.where(torch.tensor([[[True]], [[False]]]), other).position[:, 0, 0, 0]
        tensor([1., 0.])
    """

    position: Tensor
    log_prior: Tensor
    log_likelihood: Tensor
    prior_gradient: Tensor
    likelihood_gradient: Tensor

    def where(self, mask: Tensor, other: Self) -> Self:
        """The other state where the mask holds; elsewhere this one, bit for bit.

        Args:
            mask: Broadcasts to `(T, C, N)`.
            other: The state to take.
        """
        return type(self)(
            *(
                torch.where(mask if mine.ndim == 3 else mask[..., None], theirs, mine)
                for mine, theirs in zip(self.tensors, other.tensors, strict=True)
            )
        )

    @property
    def tensors(self) -> list[Tensor]:
        """All fields in their order."""
        return [getattr(self, field.name) for field in fields(self)]

    def log_target(self, temperatures: Tensor) -> Tensor:
        """Log p(u) + t log p(x|u), of shape `(T, C, N)`, for temperatures `(T, 1, 1)`."""
        # At t = 0 a log likelihood of minus infinity counts nothing; 0 * inf would be NaN.
        tempered = torch.where(temperatures > 0, temperatures * self.log_likelihood, 0.0)
        return self.log_prior + tempered

    def gradient(self, temperatures: Tensor) -> Tensor:
        """The gradient of the log target, of shape `(T, C, N, D)`."""
        inverse_temperature = temperatures[..., None].to(self.prior_gradient)
        return self.prior_gradient + inverse_temperature * self.likelihood_gradient


@dataclass(frozen=True)
class Metric:
    r"""The linear map L with :math:`L L' \approx Cov_t[u]` per temperature and datum.

    Attributes:
        factor: `(T, N, D, D)` lower triangular, or `(T, N, D)` diagonal.

    Example:
        >>> Metric(torch.eye(2).expand(1, 1, 2, 2)).apply(torch.ones(1, 3, 1, 2)).shape
        torch.Size([1, 3, 1, 2])
    """

    factor: Tensor

    @classmethod
    def of(cls, covariance: Tensor, dtype: torch.dtype) -> Self:
        """The root of covariances `(T, N, D, D)`, or of variances `(T, N, D)`."""
        if covariance.ndim == 3:
            return cls(covariance.clamp(min=1e-30).sqrt().to(dtype))
        variance = covariance.diagonal(dim1=-2, dim2=-1).clamp(min=1e-30)
        # Directions that differ by more than this cannot be told apart in single precision.
        factor, info = torch.linalg.cholesky_ex(covariance + 1e-7 * torch.diag_embed(variance))
        fallback = torch.diag_embed(variance.sqrt())
        return cls(torch.where((info == 0)[..., None, None], factor, fallback).to(dtype))

    def apply(self, vector: Tensor) -> Tensor:
        """L v for vectors `(T, C, N, D)`."""
        if self.factor.ndim == 3:
            return self.factor[:, None] * vector
        return torch.einsum("tnij,tcnj->tcni", self.factor, vector)

    def pull_back(self, gradient: Tensor) -> Tensor:
        """L' g for gradients `(T, C, N, D)`."""
        if self.factor.ndim == 3:
            return self.factor[:, None] * gradient
        return torch.einsum("tnji,tcnj->tcni", self.factor, gradient)


@dataclass(frozen=True)
class Proposal:
    """A move of every chain, and what is needed to judge it.

    Attributes:
        position: `(T, C, N, D)`, where the chains would go.
        noise: `(T, C, N, D)`, the standard normal noise in it.
        drift: `(T, C, N, D)`, the whitened, truncated gradient at the start.
    """

    position: Tensor
    noise: Tensor
    drift: Tensor


def propose(state: LadderState, temperatures: Tensor, metric: Metric, step: Tensor) -> Proposal:
    r"""Propose :math:`u' = u + \epsilon L (\xi + \epsilon w / 2)` with :math:`w = L' \nabla`.

    The drift w is truncated (Roberts and Tweedie's MALTA), so that chains far from the mass do not
    overshoot; the acceptance accounts for it exactly.

    Args:
        state: Where the chains stand.
        temperatures: `(T, 1, 1)`.
        metric: The preconditioner.
        step: The step sizes, `(T, N)`.

    Returns:
        The proposal; a chain whose move is not finite stays where it is.

    Example:
        >>> zeros, vectors = torch.zeros(1, 2, 1), torch.zeros(1, 2, 1, 3)
        >>> state = LadderState(vectors, zeros, zeros, vectors, vectors)
        >>> metric = Metric(torch.eye(3).expand(1, 1, 3, 3))
        >>> propose(state, torch.ones(1, 1, 1), metric, torch.ones(1, 1)).position.shape
        torch.Size([1, 2, 1, 3])
    """
    drift = _truncated(metric.pull_back(state.gradient(temperatures)))
    noise = torch.randn_like(state.position)
    size = step[:, None, :, None].to(noise)
    moved = state.position + size * metric.apply(noise + size / 2 * drift)
    finite = moved.isfinite().all(-1, keepdim=True)
    return Proposal(torch.where(finite, moved, state.position), noise, drift)


def _truncated(drift: Tensor) -> Tensor:
    """A drift no longer than five times the noise's typical length."""
    limit = 5 * math.sqrt(drift.shape[-1])
    return drift * (limit / drift.norm(dim=-1, keepdim=True).clamp(min=limit))


def acceptance_probability(
    state: LadderState,
    proposed: LadderState,
    proposal: Proposal,
    temperatures: Tensor,
    metric: Metric,
    step: Tensor,
) -> Tensor:
    """The Metropolis-Hastings probability of each move, `(T, C, N)`.

    Args:
        state: Where the chains stand.
        proposed: The state at the proposal.
        proposal: How it came about.
        temperatures: `(T, 1, 1)`.
        metric: The preconditioner.
        step: The step sizes, `(T, N)`.

    Returns:
        Probabilities; 0 where a density is not a number or the move leads outside the support.

    Example:
        >>> zeros, vectors = torch.zeros(1, 2, 1), torch.zeros(1, 2, 1, 3)
        >>> state = LadderState(vectors, zeros, zeros, vectors, vectors)
        >>> stay = Proposal(vectors, vectors, vectors)
        >>> metric, one = Metric(torch.eye(3).expand(1, 1, 3, 3)), torch.ones(1, 1, 1)
        >>> acceptance_probability(state, state, stay, one, metric, torch.ones(1, 1)).squeeze()
        tensor([1., 1.])
    """
    drift = _truncated(metric.pull_back(proposed.gradient(temperatures)))
    size = step[:, None, :, None].to(drift)
    backward = proposal.noise + size / 2 * (proposal.drift + drift)
    log_proposal = (proposal.noise.square() - backward.square()).sum(-1) / 2
    log_ratio = proposed.log_target(temperatures) - state.log_target(temperatures) + log_proposal
    return log_ratio.nan_to_num(nan=-math.inf).clamp(max=0).exp()
