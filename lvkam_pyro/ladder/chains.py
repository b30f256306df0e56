"""Where the chains of a ladder stand, and the metric in which they move."""

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor


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
