"""Sequences of categories whose (particles x data) log density is one matrix product."""

from collections.abc import Sequence
from typing import Self

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from lvkam_pyro.likelihoods.inner_products import inner_products

MISSING = -1
"""The token of an entry that was not observed."""


class FactoredCategorical(TorchDistribution):
    r"""Independent categories at each place of a sequence, factored for shared particles.

    .. math:: \log p(x_n \mid \ell_s) = \sum_{o : x_{no} \ge 0} \log
              \operatorname{softmax}(\ell_{so})_{x_{no}}

    The law of ``Categorical(logits=logits).to_event(1)``, with values in floating point or whole
    numbers. An entry of -1 was not observed: it is summed out, so that the density is that of the
    others (right where entries are missing at random). Where all particles meet all data (`logits`
    of shape `(S, 1, O, V)`, values of shape `(N, O)`) the result `(S, N)` costs one matrix product
    with the indicators of the values.

    Arguments:
        logits: Unnormalised log probabilities of the V categories, of shape `(*batch, O, V)`.
        validate_args: Whether to check parameters and values.

    Raises:
        ValueError: If `logits` has fewer than two dimensions.

    Example:
        >>> logits, tokens = torch.zeros(256, 1, 16, 27), torch.zeros(100, 16)
        >>> FactoredCategorical(logits).log_prob(tokens).shape
        torch.Size([256, 100])
    """

    arg_constraints = {  # noqa: RUF012 - torch's own form
        "logits": constraints.independent(constraints.real, 2)
    }

    def __init__(self, logits: Tensor, *, validate_args: bool | None = None) -> None:
        if logits.ndim < 2:
            raise ValueError(
                f"Expected logits of shape (*batch, O, V), got shape {tuple(logits.shape)}."
            )
        self.logits = logits
        super().__init__(logits.shape[:-2], logits.shape[-2:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """Whole numbers from 0 to V - 1, and -1 for what was not observed."""
        tokens = constraints.integer_interval(MISSING, self.num_categories - 1)
        return constraints.independent(tokens, 1)

    @property
    def num_categories(self) -> int:
        """The number of categories V."""
        return self.logits.shape[-1]

    def expand(self, batch_shape: Sequence[int], _instance: Self | None = None) -> Self:
        """The same law over a larger batch; `logits` stay as they are."""
        new = self._get_checked_instance(FactoredCategorical, _instance)
        new.logits = self.logits
        super(FactoredCategorical, new).__init__(
            Size(batch_shape), self._event_shape, validate_args=False
        )
        new._validate_args = self._validate_args
        return new

    @property
    def probs(self) -> Tensor:
        """Probabilities of the categories, of shape `(*batch, O, V)`."""
        return self.logits.softmax(-1).expand(*self._extended_shape(), -1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws of tokens in the dtype of `logits`, of shape `sample_shape + batch_shape + (O,)`.

        None of them is missing.
        """
        shape = self._extended_shape(Size(sample_shape))
        with torch.no_grad():
            probs = self.probs.expand(*shape, -1).reshape(-1, self.num_categories)
            return probs.multinomial(1).view(shape).to(self.logits.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of tokens of shape `(..., O)`, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        log_probs = self.logits.log_softmax(-1).flatten(-2)
        indicators = category_indicators(value, self.num_categories).flatten(-2)
        log_prob = inner_products(log_probs, indicators.to(log_probs.dtype))
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self._batch_shape))

    def pointwise_log_prob(self, value: Tensor) -> Tensor:
        """Log probability of each token by itself, of shape `(..., O)`; 0 where it is missing."""
        log_probs = self.logits.log_softmax(-1)
        return (log_probs * category_indicators(value, self.num_categories)).sum(-1)


def category_indicators(value: Tensor, num_categories: int) -> Tensor:
    """One for the category of each entry and zero for the others, none where it is missing.

    Args:
        value: Numbers of categories, of shape `(...)`, -1 where missing.
        num_categories: V.

    Returns:
        Whole numbers of shape `(..., V)`.

    Example:
        >>> category_indicators(torch.tensor([1.0, -1.0]), 3).tolist()
        [[0, 1, 0], [0, 0, 0]]
    """
    # A first category for what is missing, cut off again.
    return F.one_hot(value.long() - MISSING, num_categories + 1)[..., 1:]
