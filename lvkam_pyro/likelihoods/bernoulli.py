"""Zeros and ones: the likelihood and its factored distribution."""

from collections.abc import Sequence

import torch
from torch import Size, Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from lvkam_pyro.likelihoods.factored import (
    Factored,
    Likelihood,
    inner_products,
)
from lvkam_pyro.options import check_count


class FactoredBernoulli(Factored):
    r"""Independent zeros and ones, factored for shared particles.

    .. math:: \log p(x_n \mid \ell_s) = \sum_o x_{no} \ell_{so}
              - \sum_o \log (1 + e^{\ell_{so}})

    The distribution ``Bernoulli(logits=logits).to_event(1)``. Where all particles meet all data
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
        return self._over_batch(log_prob)

    def pointwise_log_prob(self, value: Tensor) -> Tensor:
        """Log probability of each output by itself, of shape `(..., O)`, in nats."""
        return value.to(self.logits.dtype) * self.logits - F.softplus(self.logits)


class BernoulliLikelihood(Likelihood):
    r"""Zeros and ones, whose log odds are the generator's output.

    .. math:: x_o \sim \operatorname{Bernoulli}\Big( \frac{1}{1 + e^{-m_o}} \Big)

    It has no parameters.

    Arguments:
        num_outputs: Number of outputs `O`.

    Raises:
        ValueError: If `num_outputs` is below 1.

    Example:
        >>> import torch
        >>> likelihood = BernoulliLikelihood(64)
        >>> likelihood(torch.zeros(256, 1, 64)).log_prob(torch.ones(100, 64)).shape
        torch.Size([256, 100])
    """

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.num_outputs = check_count("num_outputs", num_outputs)

    def forward(self, logits: Tensor) -> FactoredBernoulli:
        """The distribution of the outputs of log odds `logits`, of shape `(..., O)`."""
        return FactoredBernoulli(logits)
