"""Boxes of coordinates, each of one datum, with the tensor rule that integrates over them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from lvkam_pyro.statistics.quadrature import gauss_legendre

_NODES_PER_AXIS = {1: 8, 2: 4, 3: 4}
_INSIDE = 1e-6


@dataclass(frozen=True)
class Boxes:
    """Boxes ordered by the data, with what a rule on each has found.

    Attributes:
        datum: `(B,)`, not decreasing.
        low: The lower corners, `(B, Q)`.
        width: `(B, Q)`.
        log_mass: The log of the integral over each, `(B,)`.
        largest: The largest log value at the nodes, `(B,)`.
        drop: How far the least finite one lies below it, `(B,)`.
        is_cut: Whether the function vanishes at some of the nodes, and corners, only, `(B,)`.

    Example:
        >>> boxes = Boxes.between([torch.tensor([0.0, 1.0, 4.0])], num_data=2)
        >>> boxes.datum, boxes.width[:, 0]
        (tensor([0, 0, 1, 1]), tensor([1., 3., 1., 3.]))
    """

    datum: Tensor
    low: Tensor
    width: Tensor
    log_mass: Tensor
    largest: Tensor
    drop: Tensor
    is_cut: Tensor

    @classmethod
    def unknown(cls, datum: Tensor, low: Tensor, width: Tensor) -> Self:
        """Boxes over which nothing is integrated yet."""
        nothing = torch.full_like(low[:, 0], -torch.inf)
        return cls(datum, low, width, nothing, nothing, torch.zeros_like(nothing), nothing > 0)

    @classmethod
    def between(cls, edges: Sequence[Tensor], *, num_data: int) -> Self:
        """For each datum the product of the cells between each coordinate's edges."""
        low = _product([e[:-1] for e in edges])
        width = _product([e.diff() for e in edges])
        datum = torch.arange(num_data, device=low.device).repeat_interleave(len(low))
        return cls.unknown(datum, low.repeat(num_data, 1), width.repeat(num_data, 1))

    @classmethod
    def join(cls, parts: Sequence[Self], *, order: Tensor | None = None) -> Self:
        """All boxes of several sets, in a given order; by the data, if none is given."""
        joined = cls(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)))
        return joined[joined.datum.argsort(stable=True) if order is None else order]

    def __len__(self) -> int:
        return len(self.datum)

    def __getitem__(self, index: Tensor | slice) -> Self:
        return type(self)(*(getattr(self, field.name)[index] for field in fields(self)))

    @property
    def log_bound(self) -> Tensor:
        """A guess from above of the log mass: a peak among the nodes, all over the box.

        Between the nodes a square rises by a tenth of its drop over them; half of it is allowed.
        """
        return self.largest + self.drop / 2 + self.width.log().sum(-1)

    def halve(self) -> Self:
        """Each box cut in two along every coordinate: 2**Q neighbours in its place."""
        corners = _product([torch.tensor([0.0, 0.5]).to(self.low)] * self.low.shape[1])
        low = self.low[:, None] + corners * self.width[:, None]
        count = len(corners)
        width = (self.width / 2).repeat_interleave(count, 0)
        return self.unknown(self.datum.repeat_interleave(count), low.flatten(0, 1), width)

    def nodes(self) -> Tensor:
        """The nodes of the tensor rule in each box, `(B, nodes, Q)`."""
        unit, _ = tensor_rule(self.low)
        return self.low[:, None] + self.width[:, None] * unit

    def corners(self) -> Tensor:
        """The corners of each box, a little inside, `(B, 2**Q, Q)`."""
        ends = torch.tensor([_INSIDE, 1 - _INSIDE]).to(self.low)
        unit = _product([ends] * self.low.shape[1])
        return self.low[:, None] + self.width[:, None] * unit

    def log_node_masses(self, log_values: Tensor) -> Tensor:
        """The log contribution of each node, `(B, nodes)`, from the log values there."""
        _, weights = tensor_rule(self.low)
        return log_values + weights.log() + self.width.log().sum(-1, keepdim=True)

    def integrated(self, log_values: Tensor) -> Self:
        """The boxes with the integrals of a function whose log values at the nodes are given."""
        largest = log_values.amax(-1)
        vanishes = log_values == -torch.inf
        least = log_values.masked_fill(vanishes, torch.inf).amin(-1)
        return type(self)(
            self.datum,
            self.low,
            self.width,
            self.log_node_masses(log_values).logsumexp(-1),
            largest,
            torch.where(largest > -torch.inf, largest - least, 0.0),
            vanishes.any(-1) & ~vanishes.all(-1),
        )

    def cornered(self, log_values: Tensor) -> Self:
        """The boxes with what the log values at their corners say of edges between the nodes."""
        is_empty, possible = self.largest == -torch.inf, log_values > -torch.inf
        is_full = ~is_empty & ~self.is_cut
        hides_edge = (is_empty & possible.any(-1)) | (is_full & ~possible.all(-1))
        largest = torch.maximum(self.largest, log_values.amax(-1))
        return replace(self, largest=largest, is_cut=self.is_cut | hides_edge)


def tensor_rule(corners: Tensor) -> tuple[Tensor, Tensor]:
    """The Gauss-Legendre rule on the unit box.

    Args:
        corners: Of shape `(..., Q)`, Q from 1 to 3, for number of coordinates, dtype and device.

    Returns:
        Nodes `(n, Q)` and weights `(n,)`.

    Example:
        >>> nodes, weights = tensor_rule(torch.zeros(2).double())
        >>> (weights * nodes[:, 0] ** 7 * nodes[:, 1]).sum() * 16
        tensor(1.0000, dtype=torch.float64)
    """
    num_coordinates = corners.shape[-1]
    unit, share = (part.to(corners) for part in gauss_legendre(_NODES_PER_AXIS[num_coordinates]))
    return _product([unit] * num_coordinates), _product([share] * num_coordinates).prod(-1)


def _product(axes: Sequence[Tensor]) -> Tensor:
    """The Cartesian product, `(M, Q)`."""
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)
