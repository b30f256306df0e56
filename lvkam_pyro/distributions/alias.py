"""Draws from tables of probabilities in a time that does not depend on their size."""

from typing import NamedTuple

import torch
from torch import Tensor


class AliasTable(NamedTuple):
    r"""Walker's alias tables of many discrete laws, one a row.

    Column `c` of a row is kept with probability `threshold[c]` and exchanged for `alias[c]`
    otherwise, so that a draw is one uniform column, one comparison and no search:

    .. math:: p_c = \frac{1}{C} \Big( t_c + \sum_{k : a_k = c} (1 - t_k) \Big)

    (Walker 1977, "An efficient method for generating discrete random variables with general
    distributions"). All rows are built at once by prefix sums: Huebschle-Schneider and Sanders
    2022, "Parallel Weighted Random Sampling", section 4.2, https://arxiv.org/abs/1903.00227.

    Attributes:
        threshold: Probabilities to keep a column, of shape `(R, C)`.
        alias: The other column, as an index into the flattened table, of shape `(R, C)`.
    """

    threshold: Tensor
    alias: Tensor

    @staticmethod
    def of(weights: Tensor) -> "AliasTable":
        """The tables of non-negative weights of shape `(R, C)`, normalised by row."""
        num_columns = weights.shape[-1]
        weights = weights * (num_columns / weights.sum(-1, keepdim=True))
        # The light columns first: each is filled up by the heavy one that the sweep has reached.
        order = (weights >= 1).int().argsort(dim=-1, stable=True)
        excess = weights.gather(-1, order) - 1
        deficit, surplus = excess.neg().clamp(min=0).cumsum(-1), excess.clamp(min=0).cumsum(-1)
        light = excess < 0
        # Shifted, not subtracted: both searches must see the same numbers to break ties alike.
        before = torch.nn.functional.pad(deficit[:, :-1], (1, 0))
        filled_by = torch.searchsorted(surplus, before, right=True)
        # A heavy column that gave more than it had is filled up by its successor.
        overdrawn = torch.searchsorted(deficit, surplus).clamp(max=num_columns - 1)
        debt = (surplus - deficit.gather(-1, overdrawn)).clamp(max=0).masked_fill(surplus == 0, 0)
        place = torch.arange(num_columns, device=weights.device)
        partner = torch.where(light, filled_by, place + 1).clamp(max=num_columns - 1)
        threshold = 1 + torch.where(light, excess, debt)
        row = torch.arange(len(weights), device=weights.device)[:, None] * num_columns
        alias = order.gather(-1, partner) + row
        return AliasTable(
            torch.empty_like(threshold).scatter_(-1, order, threshold),
            torch.empty_like(alias).scatter_(-1, order, alias),
        )

    def draw(self, row: Tensor) -> Tensor:
        """An entry of the flattened table for each `row`: an index of the shape of `row`."""
        num_columns = self.threshold.shape[-1]
        scaled = torch.rand(row.shape, dtype=self.threshold.dtype, device=row.device) * num_columns
        # In float32 the product may round up to the number of columns.
        column = scaled.long().clamp_(max=num_columns - 1)
        slot = torch.add(column, row, alpha=num_columns)
        keep = scaled - column < self.threshold.view(-1).index_select(0, slot)
        return torch.where(keep, slot, self.alias.view(-1).index_select(0, slot))
