"""The Bernoulli likelihood whose (particles x data) log density is one matrix product."""

from collections.abc import Sequence
from typing import Self

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from lvkam_pyro.likelihoods.inner_products import inner_products


class FactoredBernoulli(TorchDistribution):
    r"""Independent zeros and ones, factored for shared particles.

    .. math:: \log p(x_n \mid \ell_s) = \sum_o x_{no} \ell_{so}
              - \sum_o \log (1 + e^{\ell_{so}})

    The law of ``Bernoulli(logits=logits).to_event(1)``. Where all particles meet all data
    (`logits` of shape `(S, 1, O)`, values of shape `(N, O)`) the result `(S, N)` costs one matrix
    product, and no array of shape `(S, N, O)` is ever made.

    Arguments:
        logits: Log odds of a one :math:`\ell`, of shape `(*batch, O)`.
        validate_args: Whether to check parameters and values.

    Raises:
        ValueError: If `logits` is a scalar.

    Example:
        >>> logits, data = torch.zeros(256, 1, 64), torch.ones(100, 64)
        >>> FactoredBernoulli(logits).log_prob(data).shape
        torch.Size([256, 100])
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012 - torch's own form
    support = constraints.independent(constraints.boolean, 1)

    def __init__(self, logits: Tensor, *, validate_args: bool | None = None) -> None:
        if logits.ndim == 0:
            raise ValueError("Expected logits of shape (*batch, O), got a scalar.")
        self.logits = logits
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Self | None = None) -> Self:
        """The same law over a larger batch; `logits` stay as they are."""
        new = self._get_checked_instance(FactoredBernoulli, _instance)
        new.logits = self.logits
        super(FactoredBernoulli, new).__init__(
            Size(batch_shape), self._event_shape, validate_args=False
        )
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """Probabilities of a one, of shape `(*batch, O)`."""
        return self.logits.sigmoid().expand(self._extended_shape())

    @property
    def variance(self) -> Tensor:
        """Variances, of shape `(*batch, O)`."""
        return self.mean * (1 - self.mean)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws of zeros and ones, of shape `sample_shape + batch_shape + (O,)`."""
        with torch.no_grad():
            return self.mean.expand(self._extended_shape(Size(sample_shape))).bernoulli()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of values of shape `(..., O)`, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        scores = inner_products(self.logits, value.to(self.logits.dtype))
        log_prob = scores - F.softplus(self.logits).sum(-1)
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self._batch_shape))

    def pointwise_log_prob(self, value: Tensor) -> Tensor:
        """Log probability of each output by itself, of shape `(..., O)`, in nats."""
        return value.to(self.logits.dtype) * self.logits - F.softplus(self.logits)
