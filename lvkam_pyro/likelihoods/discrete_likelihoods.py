"""The likelihoods of discrete data: zeros and ones, and sequences of categories."""

from numbers import Integral

from pyro.nn import PyroModule
from torch import Tensor

from lvkam_pyro.likelihoods.factored_bernoulli import FactoredBernoulli
from lvkam_pyro.likelihoods.factored_categorical import FactoredCategorical, category_indicators


class BernoulliLikelihood(PyroModule):
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
        self.num_outputs = _check_count("num_outputs", num_outputs)

    def forward(self, logits: Tensor) -> FactoredBernoulli:
        """Law of the outputs of log odds `logits`, of shape `(..., O)`."""
        return FactoredBernoulli(logits)


class CategoricalLikelihood(PyroModule):
    r"""A sequence of categories, such as the letters of a word or columns of a table.

    .. math:: x_o \sim \operatorname{Categorical}\big(\operatorname{softmax}(m_{o1}, \dots,
              m_{oV})\big), \qquad o = 1..O

    The generator has :math:`O V` outputs, those of one place next to each other. A datum is a
    vector of `O` whole numbers from 0 to V - 1, kept in floating point as all data are; -1 stands
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
        self.num_places = _check_count("num_places", num_places)
        self.num_categories = _check_count("num_categories", num_categories, minimum=2)

    @property
    def num_outputs(self) -> int:
        """The number of the generator's outputs that it takes, `O V`."""
        return self.num_places * self.num_categories

    def features(self, x: Tensor) -> Tensor:
        """What a network should see of data `(N, O)`: an indicator of each category, `(N, O V)`."""
        return category_indicators(x, self.num_categories).flatten(-2).to(x.dtype)

    def forward(self, logits: Tensor) -> FactoredCategorical:
        """Law of the sequence of unnormalised log probabilities, of shape `(..., O V)`."""
        return FactoredCategorical(logits.unflatten(-1, (self.num_places, self.num_categories)))


def _check_count(name: str, value: int, *, minimum: int = 1) -> int:
    if not isinstance(value, Integral):
        raise TypeError(f"Expected a whole number for {name}, got {value!r}.")
    if value < minimum:
        raise ValueError(f"Expected {name} of at least {minimum}, got {value}.")
    return value
