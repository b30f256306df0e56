"""Sequences of categories: the likelihood and its factored distribution."""

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

MISSING = -1
"""The token of an entry that was not observed."""


class FactoredCategorical(Factored):
    r"""Independent categories at each position of a sequence, factored for shared particles.

    .. math:: \log p(x_n \mid \ell_s) = \sum_{o : x_{no} \ge 0} \log
              \operatorname{softmax}(\ell_{so})_{x_{no}}

    The distribution ``Categorical(logits=logits).to_event(1)``, with values in floating point or
    integers. An entry of -1 was not observed: it is summed out, so that the density is that of the
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
        """Integers from 0 to V - 1, and -1 for what was not observed."""
        tokens = constraints.integer_interval(MISSING, self.num_categories - 1)
        return constraints.independent(tokens, 1)

    @property
    def num_categories(self) -> int:
        """The number of categories V."""
        return self.logits.shape[-1]

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
        return self._over_batch(log_prob)

    def pointwise_log_prob(self, value: Tensor) -> Tensor:
        """Log probability of each token by itself, of shape `(..., O)`; 0 where it is missing."""
        log_probs = self.logits.log_softmax(-1)
        return (log_probs * category_indicators(value, self.num_categories)).sum(-1)


class CategoricalLikelihood(Likelihood):
    r"""A sequence of categories, such as the letters of a word or columns of a table.

    .. math:: x_o \sim \operatorname{Categorical}\big(\operatorname{softmax}(m_{o1}, \dots,
              m_{oV})\big), \qquad o = 1..O

    The generator has :math:`O V` outputs, those of one position next to each other. A datum is a
    vector of `O` integers from 0 to V - 1, kept in floating point as all data are; -1 stands
    for an entry that was not observed, and is summed out. It has no parameters.

    Arguments:
        num_places: Length of the sequence `O`.
        num_categories: Number of categories `V` at each place.

    Raises:
        ValueError: If `num_places` is below 1, or `num_categories` below 2.

    Example:
        >>> import torch
        >>> likelihood = CategoricalLikelihood(16, 27)
        >>> likelihood.num_outputs
        432
        >>> likelihood(torch.zeros(256, 1, 432)).log_prob(torch.zeros(100, 16)).shape
        torch.Size([256, 100])
    """

    def __init__(self, num_places: int, num_categories: int) -> None:
        super().__init__()
        self.num_places = check_count("num_places", num_places)
        self.num_categories = check_count("num_categories", num_categories, minimum=2)

    @property
    def num_outputs(self) -> int:  # type: ignore[override]
        """The number of the generator's outputs that it takes, `O V`."""
        return self.num_places * self.num_categories

    @property
    def num_columns(self) -> int:
        """The number of columns of the data, `O`."""
        return self.num_places

    def features(self, x: Tensor) -> Tensor:
        """The input of a network that reads data `(N, O)`: indicators of categories, `(N, O V)`."""
        return category_indicators(x, self.num_categories).flatten(-2).to(x.dtype)

    def forward(self, logits: Tensor) -> FactoredCategorical:
        """The distribution of sequences, of unnormalised log probabilities `(..., O V)`."""
        return FactoredCategorical(logits.unflatten(-1, (self.num_places, self.num_categories)))


def category_indicators(value: Tensor, num_categories: int) -> Tensor:
    """One for the category of each entry and zero for the others, none where it is missing.

    Args:
        value: Indices of categories, of shape `(...)`, -1 where missing.
        num_categories: V.

    Returns:
        Integers of shape `(..., V)`.

    Example:
        >>> category_indicators(torch.tensor([1.0, -1.0]), 3).tolist()
        [[0, 1, 0], [0, 0, 0]]
    """
    # A first category for what is missing, cut off again.
    return F.one_hot(value.long() - MISSING, num_categories + 1)[..., 1:]
