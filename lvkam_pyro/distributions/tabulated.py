"""Integrals that are kept for as long as the parameters are the same."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from lvkam_pyro.distributions.table import Table


class Tabulated(ABC):
    """What keeps a table of integrals: one with gradients, and one without.

    The abstract base of :class:`UnivariateDensity`. A subclass defines ``_tabulate``, and
    ``_version`` where it can say that its parameters are as they were.
    """

    _tables: dict[object, Any]

    @abstractmethod
    def _tabulate(self) -> Table:
        """The integrals for the present parameters."""

    def __getstate__(self) -> dict[str, Any]:
        # Tables carry the autograd graph, which neither pickle nor deepcopy can follow.
        return {**self.__dict__, "_tables": {}}

    def _version(self) -> object:
        """What changes when the parameters do, also in place; None where that is unknown."""
        return None

    def _refresh(self) -> None:
        """Forget tables of other parameters, and those whose graph a backward pass may have freed.

        Called first by every public method: a distribution that outlives an optimiser's step, or
        is used in two backward passes, then behaves as torch's own do.
        """
        version = self._version()
        if version is None or self._tables.get("version") != version:
            self._tables.clear()
            self._tables["version"] = version
        self._tables.pop(True, None)

    @property
    def _table(self) -> Table:
        """The integrals; built anew where gradients are wanted and the stored one has none."""
        grad = torch.is_grad_enabled()
        if grad not in self._tables:
            self._tables[grad] = self._tabulate()
        table: Table = self._tables[grad]
        return table


def version_of(tensor: Tensor) -> int | None:
    """The number of in-place changes of a tensor; None in inference mode, which keeps no count."""
    return None if tensor.is_inference() else tensor._version
