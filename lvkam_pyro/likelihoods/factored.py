"""The bases of likelihoods: modules, and distributions factored for shared particles."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor

from lvkam_pyro.distributions.shapes import expanded


class Likelihood(PyroModule):
    r"""The distribution of a datum around a generator's output.

    The base of the likelihoods of this library, and of those that stand beside them in a
    :class:`JointLikelihood`. A subclass sets `num_outputs` and defines `forward`, from outputs
    `(..., num_outputs)` to a distribution of data `(..., num_columns)`; where these differ, also
    `num_columns`; where a network should not see the data as they are, `features`.

    Attributes:
        num_outputs: Number of the generator's outputs that it takes.

    Example:
        >>> import pyro.distributions as dist
        >>> class PoissonLikelihood(Likelihood):
        ...     def __init__(self, num_outputs):
        ...         super().__init__()
        ...         self.num_outputs = num_outputs
        ...
        ...     def forward(self, log_rate):
        ...         return dist.Poisson(log_rate.exp()).to_event(1)
        >>> PoissonLikelihood(3)(torch.zeros(256, 1, 3)).log_prob(torch.ones(100, 3)).shape
        torch.Size([256, 100])
    """

    num_outputs: int

    @property
    def num_columns(self) -> int:
        """Number of columns of the data: by default as many as outputs."""
        return self.num_outputs

    def features(self, x: Tensor) -> Tensor:
        """The input of a network that reads data `(N, num_columns)`: by default the data."""
        return x

    @abstractmethod
    def forward(self, outputs: Tensor) -> TorchDistribution:
        """The distribution of data, given outputs of shape `(..., num_outputs)`."""


class Factored(TorchDistribution):
    """The base of distributions of vectors of independent outputs, factored for shared particles.

    A subclass keeps tensor parameters that broadcast with its batch, and defines `log_prob`.
    """

    def expand(self, batch_shape: Sequence[int], _instance: Self | None = None) -> Self:
        """The same distribution over a larger batch; parameters stay as they are.

        Raises:
            ValueError: If the batch does not broadcast to that shape.
        """
        return expanded(self, batch_shape, self._get_checked_instance(type(self), _instance))

    def _over_batch(self, log_prob: Tensor) -> Tensor:
        """Log densities of the shape that values and batch have together."""
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self._batch_shape))


def inner_products(left: Tensor, right: Tensor) -> Tensor:
    r"""Inner products over the last dimension, of batches that broadcast.

    .. math:: c_{sn} = \sum_o a_{so} b_{no}

    Where every batch entry of `left` meets every one of `right` (`left` of shape `(S, 1, O)`,
    `right` of shape `(N, O)`) it is one matrix product: no array of shape `(S, N, O)` is made.

    Args:
        left: Vectors of shape `(..., O)`.
        right: Vectors of shape `(..., O)`, whose batch broadcasts with that of `left`.

    Returns:
        Products of the broadcast batch shape.

    Example:
        >>> inner_products(torch.ones(256, 1, 64), torch.ones(100, 64)).shape
        torch.Size([256, 100])
    """
    if not is_outer(left, right):
        return (left * right).sum(-1)
    shape = torch.broadcast_shapes(left.shape[:-1], right.shape[:-1])
    rows, columns = left.reshape(-1, left.shape[-1]), right.reshape(-1, right.shape[-1])
    return (rows @ columns.T).view(shape)


def is_outer(left: Tensor, right: Tensor) -> bool:
    """Whether every batch entry of `left` meets every one of `right`, in this order.

    Args:
        left: Vectors of shape `(..., O)`.
        right: Vectors of shape `(..., O)`.

    Example:
        >>> is_outer(torch.ones(7, 1, 3), torch.ones(5, 3))
        True
        >>> is_outer(torch.ones(7, 5, 3), torch.ones(5, 3))
        False
    """
    rank = max(left.ndim, right.ndim) - 1
    first = [1] * (rank - left.ndim + 1) + list(left.shape[:-1])
    second = [1] * (rank - right.ndim + 1) + list(right.shape[:-1])
    last_of_first = max((i for i, size in enumerate(first) if size > 1), default=-1)
    first_of_second = min((i for i, size in enumerate(second) if size > 1), default=rank)
    return last_of_first < first_of_second
