"""The volumes and the evidence of nested sampling, from the record of a run of islands."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class NestedRecord:
    r"""The deaths and births of live points, by likelihood: all that the evidence needs.

    .. math:: \hat p(x) = \sum_i \frac{X_i}{n_i} L_i, \qquad X_{i + 1} = X_i (1 - 1 / n_i)

    over the deaths of all islands in the order of their likelihoods, with :math:`n_i` the points
    that are alive then: the islands together are one run of all their points (Higson, Handley,
    Hobson and Lasenby 2018, https://doi.org/10.1214/17-BA1075). Points of equal likelihood die
    together, before others are born in their place, so that a plateau has the volume of its share
    (Fowlie, Handley and Su 2021, https://doi.org/10.1093/mnras/stab590).

    Attributes:
        level: The likelihood's logarithm at each event, `(E, R, U)`; deaths before births.
        change: In the number of live points: -1 at a death, n at births, 0 where nothing is.
        num_start: Live points of each island at the beginning.

    Example:
        >>> level = torch.tensor([0.0, 1.0]).view(2, 1, 1).double()
        >>> record = NestedRecord(level, torch.full((2, 1, 1), -1), 2)
        >>> record.log_evidence().exp()  # of two points that are not replaced: their mean
        tensor([1.8591], dtype=torch.float64)
    """

    level: Tensor
    change: Tensor
    num_start: int

    @property
    def num_islands(self) -> int:
        """The number of islands R."""
        return self.level.shape[1]

    def log_volumes(self) -> Tensor:
        """The logarithm of the prior's mass that each death stands for, `(E, R, U)`."""
        order, change, _ = self._in_order()
        shells = _log_shells(change, self.num_start * self.num_islands)
        return torch.empty_like(shells).scatter_(0, order, shells).view_as(self.level)

    def log_weights(self) -> Tensor:
        """The logarithm of what each death adds to the evidence, `(E, R, U)`."""
        return _log_product(self.log_volumes(), self.level)

    def log_evidence(self) -> Tensor:
        """The estimate of all islands together, `(U,)`."""
        return self.log_weights().flatten(0, 1).logsumexp(0)

    def log_evidence_and_information(self) -> tuple[Tensor, Tensor]:
        """The estimate, and the mean log likelihood of the posterior less it, `(U,)` each."""
        log_weights, level = self.log_weights().flatten(0, 1), self.level.flatten(0, 1)
        log_evidence = log_weights.logsumexp(0)
        share = (log_weights - log_evidence).exp()
        return log_evidence, (share * level.where(share > 0, 0.0)).sum(0) - log_evidence

    def leave_one_out(self) -> Tensor:
        """The same without each island, `(R, U)`."""
        order, change, level = self._in_order()
        island = order % self.num_islands
        num_start = self.num_start * (self.num_islands - 1)
        others = (change.where(island != one, 0) for one in range(self.num_islands))
        products = (_log_product(_log_shells(each, num_start), level) for each in others)
        return torch.stack([product.logsumexp(0) for product in products])

    def _in_order(self) -> tuple[Tensor, Tensor, Tensor]:
        """The order of the events of all islands, with their changes and levels, `(E R, U)`."""
        level, change = self.level.flatten(0, 1), self.change.flatten(0, 1)
        order = level.argsort(dim=0, stable=True)
        return order, change.gather(0, order), level.gather(0, order)


def _log_shells(change: Tensor, num_start: int) -> Tensor:
    """The log mass of each death among ordered events, minus infinity at all others."""
    num_live = (num_start + change.cumsum(0) - change).clamp(min=1).double()
    is_death = change < 0
    # What is left before each event: after the last death that is nothing.
    log_shrink = torch.where(is_death, (-1 / num_live).log1p(), 0.0)[:-1]
    log_volume = torch.nn.functional.pad(log_shrink, (0, 0, 1, 0)).cumsum(0)
    return torch.where(is_death, log_volume - num_live.log(), -torch.inf)


def _log_product(log_volume: Tensor, level: Tensor) -> Tensor:
    """The log of mass times likelihood; events without mass count nothing."""
    return torch.where(log_volume > -torch.inf, log_volume + level, -torch.inf)
