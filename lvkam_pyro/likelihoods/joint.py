"""Columns of several kinds: likelihoods side by side, and distributions side by side."""

from collections.abc import Sequence
from typing import cast

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor, nn
from torch.distributions import Independent, constraints

from lvkam_pyro.distributions.shapes import without_events
from lvkam_pyro.likelihoods.factored import Factored, Likelihood


class Concatenation(Factored):
    r"""The distribution of a vector whose parts are independent vectors.

    .. math:: p(x) = \prod_i p_i(x_{(i)}), \qquad x = (x_{(1)}, x_{(2)}, \dots)

    A row of a table with columns of several kinds, for example. Each part is evaluated by itself,
    so that factored distributions stay factored.

    Arguments:
        parts: Distributions over vectors (of one event dimension), whose batch shapes broadcast.
        validate_args: Whether to check values' shapes; the parts check the rest.

    Raises:
        ValueError: If there is no part, or one of another event dimension.

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
        self, parts: Sequence[TorchDistribution], *, validate_args: bool | None = None
    ) -> None:
        if not parts or any(len(part.event_shape) != 1 for part in parts):
            raise ValueError(
                "Expected parts of one event dimension each, got event shapes "
                f"{[tuple(part.event_shape) for part in parts]}. Use .to_event(1)."
            )
        self.parts = tuple(parts)
        self.sizes = [part.event_shape[0] for part in self.parts]
        shape = torch.broadcast_shapes(*[part.batch_shape for part in self.parts])
        super().__init__(shape, Size([sum(self.sizes)]), validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:
        """Whether every part has reparameterised draws."""
        return all(part.has_rsample for part in self.parts)

    @property
    def mean(self) -> Tensor:
        """The means of the parts, of shape `(*batch, O)`."""
        return self._join([part.mean for part in self.parts])

    @property
    def variance(self) -> Tensor:
        """The variances of the parts, of shape `(*batch, O)`."""
        return self._join([part.variance for part in self.parts])

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws of shape `sample_shape + batch_shape + (O,)`."""
        with torch.no_grad():
            return self._draw("sample", sample_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Reparameterised draws, if every part has them."""
        return self._draw("rsample", sample_shape)

    def _draw(self, method: str, sample_shape: Sequence[int]) -> Tensor:
        shape = Size(sample_shape)
        parts = [part.expand(self._batch_shape) for part in self.parts]
        return torch.cat([getattr(part, method)(shape) for part in parts], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of values of shape `(..., O)`: the sum of that of the parts."""
        shares = value.split(self.sizes, -1)
        terms = [part.log_prob(share) for part, share in zip(self.parts, shares, strict=True)]
        return self._over_batch(torch.stack(torch.broadcast_tensors(*terms)).sum(0))

    def pointwise_log_prob(self, value: Tensor) -> Tensor:
        """Log density of each column by itself, of shape `(..., O)`.

        Raises:
            AttributeError: If the columns of a part depend on each other.
        """
        shares = value.split(self.sizes, -1)
        terms = [_pointwise(part, share) for part, share in zip(self.parts, shares, strict=True)]
        shape = torch.broadcast_shapes(*[term.shape[:-1] for term in terms])
        return torch.cat([term.expand(*shape, -1) for term in terms], -1)

    def _join(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([part.expand(*self._batch_shape, -1) for part in parts], -1)


class JointLikelihood(Likelihood):
    r"""Several likelihoods side by side, each with its share of the generator's outputs.

    .. math:: p(x \mid m) = \prod_i p_i(x_{(i)} \mid m_{(i)})

    For tables of measurements and categories, or fields of several kinds. The columns of the data
    and the outputs of the generator are in the order of the parts.

    Arguments:
        parts: The likelihoods.

    Raises:
        ValueError: If there is no part.
        TypeError: If a part is no :class:`Likelihood`.

    Example:
        >>> import lvkam_pyro as lv
        >>> parts = [lv.NormalLikelihood(4), lv.CategoricalLikelihood(1, 3)]
        >>> likelihood = JointLikelihood(parts)
        >>> likelihood.num_outputs
        7
        >>> likelihood(torch.zeros(256, 1, 7)).log_prob(torch.zeros(100, 5)).shape
        torch.Size([256, 100])
    """

    def __init__(self, parts: Sequence[Likelihood]) -> None:
        super().__init__()
        _check_likelihoods(parts)
        self.parts = nn.ModuleList(parts)
        self.sizes = [part.num_outputs for part in parts]

    @property
    def num_outputs(self) -> int:  # type: ignore[override]
        """The number of the generator's outputs that it takes."""
        return sum(self.sizes)

    @property
    def num_columns(self) -> int:
        """The number of columns of the data, of all parts."""
        return sum(part.num_columns for part in self._likelihoods())

    def features(self, x: Tensor) -> Tensor:
        """The input of a network that reads data `(N, num_columns)`: the features of every part."""
        return torch.cat([part.features(share) for part, share in self.shares(x)], -1)

    def shares(self, x: Tensor) -> list[tuple[Likelihood, Tensor]]:
        """Every part with its own columns of data `(N, num_columns)`."""
        parts = self._likelihoods()
        return list(zip(parts, x.split([part.num_columns for part in parts], -1), strict=True))

    def forward(self, outputs: Tensor) -> Concatenation:
        """The distribution of data, given the generator's outputs `(..., num_outputs)`."""
        parts = zip(self._likelihoods(), outputs.split(self.sizes, -1), strict=True)
        return Concatenation([part(share) for part, share in parts])

    def _likelihoods(self) -> list[Likelihood]:
        return [cast("Likelihood", part) for part in self.parts]


def _check_likelihoods(parts: Sequence[object]) -> None:
    if not parts:
        raise ValueError("Expected at least one likelihood, got no parts.")
    others = [type(part).__name__ for part in parts if not isinstance(part, Likelihood)]
    if others:
        raise TypeError(
            f"Expected likelihoods as parts, got {', '.join(others)}. Inherit from "
            "lv.likelihoods.Likelihood, which says how many outputs and columns are a part's."
        )


def _pointwise(part: TorchDistribution, value: Tensor) -> Tensor:
    if isinstance(part, Independent):
        return without_events(part).log_prob(value)
    return part.pointwise_log_prob(value)
