"""Cells fine enough for functions that are rough at unknown places."""

import copy
import warnings

import torch
from torch import Tensor
from torch.distributions import Distribution

from lvkam_pyro.distributions.energy import EnergyDistribution
from lvkam_pyro.kan.parallel import ParallelKAN
from lvkam_pyro.modules.energies import cells_of, cut, evaluate

TOLERANCE = 1e-6
"""Admitted change of a log normaliser when all cells are halved, in nats."""

_EVERY = 100
_MOST_PARTS = 4


class Resolution:
    """How finely the cells of a prior of networks are cut.

    On every hundredth use the log normalisers of all functions are compared, in float64, with
    those on cells half as wide. Where one differs by more than 1e-6, all cells are halved for good,
    up to 4 parts a cell; if that is not enough, a warning says so.

    Arguments:
        batch_shape: The shape `(Q, P)` of the functions.

    Example:
        >>> resolution = Resolution(torch.Size([2, 3]))
        >>> reference = torch.distributions.Uniform(0.0, 1.0)
        >>> resolution.cells(ParallelKAN(6, hidden=(4,)), reference).shape
        torch.Size([66])
    """

    def __init__(self, batch_shape: torch.Size) -> None:
        self._batch_shape = batch_shape
        self._parts = 1
        self._num_uses = 0

    def cells(self, functions: ParallelKAN, reference: Distribution) -> Tensor:
        """The breakpoints to use, of shape `(G + 1,)`."""
        if self._num_uses % _EVERY == 0:
            self._refine(copy.deepcopy(functions).double(), reference)
        self._num_uses += 1
        return cut(cells_of(functions), self._parts)

    def _refine(self, functions: ParallelKAN, reference: Distribution) -> None:
        change = self._change(functions, reference)
        while change > TOLERANCE and self._parts < _MOST_PARTS:
            self._parts *= 2
            change = self._change(functions, reference)
        if not change <= TOLERANCE:
            warnings.warn(
                f"A log normaliser of the prior's networks still changes by {change:.1e} nats when "
                f"its {len(cells_of(functions)) - 1} cells, cut into {self._parts} parts each, are "
                "halved: they are too rough to integrate. Use fewer cells in the basis, narrower "
                "hidden layers, or a penalty on the coefficients.",
                stacklevel=4,
            )

    @torch.no_grad()
    def _change(self, functions: ParallelKAN, reference: Distribution) -> float:
        """Largest change of a log normaliser when all cells are halved."""
        coarse = cut(cells_of(functions), self._parts)
        middle = coarse[len(coarse) // 2].expand(self._batch_shape)
        values = [
            EnergyDistribution(
                lambda z: evaluate(functions, z),
                reference,
                breakpoints=cells,
                batch_shape=self._batch_shape,
            ).log_prob(middle)
            for cells in (coarse, cut(coarse, 2))
        ]
        return float((values[0] - values[1]).abs().max())
