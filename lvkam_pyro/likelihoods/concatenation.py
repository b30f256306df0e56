"""Independent vectors of different laws, side by side in one vector."""

from collections.abc import Sequence
from typing import Self

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import Independent, constraints


class Concatenation(TorchDistribution):
    r"""The law of a vector whose parts are independent vectors of laws of their own.

    .. math:: p(x) = \prod_i p_i(x_{(i)}), \qquad x = (x_{(1)}, x_{(2)}, \dots)

    A row of a table with columns of several kinds, for example. Each part is evaluated by itself,
    so that factored laws stay factored.

    Arguments:
        laws: Distributions over vectors (of one event dimension), whose batch shapes broadcast.
        validate_args: Whether to check values' shapes; the laws check the rest by their own.

    Raises:
        ValueError: If there is no law, or one of another event dimension.

    Example:
        >>> from pyro.distributions import Bernoulli, Normal
        >>> height, flags = Normal(torch.zeros(2), 1.0), Bernoulli(torch.full((3,), 0.5))
        >>> row = Concatenation([height.to_event(1), flags.to_event(1)])
        >>> row.event_shape, row.log_prob(torch.zeros(7, 5)).shape
        (torch.Size([5]), torch.Size([7]))
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 - torch's own form
    # Each part checks its own values.
    support = constraints.real_vector

    def __init__(
        self, laws: Sequence[TorchDistribution], *, validate_args: bool | None = None
    ) -> None:
        if not laws or any(len(law.event_shape) != 1 for law in laws):
            raise ValueError(
                "Expected laws of one event dimension each, got event shapes "
                f"{[tuple(law.event_shape) for law in laws]}. Use .to_event(1)."
            )
        self.laws = tuple(laws)
        self.sizes = [law.event_shape[0] for law in self.laws]
        shape = torch.broadcast_shapes(*[law.batch_shape for law in self.laws])
        super().__init__(shape, Size([sum(self.sizes)]), validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:
        """Whether every part has reparameterised draws."""
        return all(law.has_rsample for law in self.laws)

    def expand(self, batch_shape: Sequence[int], _instance: Self | None = None) -> Self:
        """The same law over a larger batch."""
        new = self._get_checked_instance(Concatenation, _instance)
        new.laws = tuple(law.expand(Size(batch_shape)) for law in self.laws)
        new.sizes = self.sizes
        super(Concatenation, new).__init__(
            Size(batch_shape), self._event_shape, validate_args=False
        )
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """The means of the parts, of shape `(*batch, O)`."""
        return self._join([law.mean for law in self.laws])

    @property
    def variance(self) -> Tensor:
        """The variances of the parts, of shape `(*batch, O)`."""
        return self._join([law.variance for law in self.laws])

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws of shape `sample_shape + batch_shape + (O,)`."""
        with torch.no_grad():
            return self._draw("sample", sample_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Reparameterised draws, if every part has them."""
        return self._draw("rsample", sample_shape)

    def _draw(self, method: str, sample_shape: Sequence[int]) -> Tensor:
        shape = Size(sample_shape)
        laws = [law.expand(self._batch_shape) for law in self.laws]
        return torch.cat([getattr(law, method)(shape) for law in laws], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of values of shape `(..., O)`: the sum of that of the parts."""
        parts = value.split(self.sizes, -1)
        terms = [law.log_prob(part) for law, part in zip(self.laws, parts, strict=True)]
        return torch.stack(torch.broadcast_tensors(*terms)).sum(0)

    def pointwise_log_prob(self, value: Tensor) -> Tensor:
        """Log density of each column by itself, of shape `(..., O)`.

        Raises:
            AttributeError: If the columns of a part depend on each other.
        """
        parts = value.split(self.sizes, -1)
        terms = [_pointwise(law, part) for law, part in zip(self.laws, parts, strict=True)]
        shape = torch.broadcast_shapes(*[term.shape[:-1] for term in terms])
        return torch.cat([term.expand(*shape, -1) for term in terms], -1)

    def _join(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([part.expand(*self._batch_shape, -1) for part in parts], -1)


def _pointwise(law: TorchDistribution, value: Tensor) -> Tensor:
    if isinstance(law, Independent):
        return law.base_dist.log_prob(value)
    return law.pointwise_log_prob(value)
