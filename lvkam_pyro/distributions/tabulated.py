"""Integrals that are kept while the parameters stay the same, and expectations read from them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Size, Tensor

from lvkam_pyro.distributions.following import resolve
from lvkam_pyro.distributions.panels import Panels
from lvkam_pyro.distributions.table import Table

# Admitted error of the distribution function, as it is estimated.
TOLERANCE = {torch.float32: 2e-7, torch.float64: 1e-10}


class Tabulated(ABC):
    """The keeper of a table of integrals: one with gradients, and one without.

    The abstract base of :class:`UnivariateDensity`. A subclass defines ``_log_potential``, and
    ``_version`` where it can say that its parameters are as they were.
    """

    panels: Panels
    dtype: torch.dtype
    _batch_shape: Size
    _parameter_shape: Size
    _tables: dict[object, Any]

    @abstractmethod
    def _log_potential(self, z: Tensor) -> Tensor:
        """Unnormalised log density of `z`, of shape `(..., *parameter_shape)`."""

    @abstractmethod
    def _open(self, z: Tensor) -> Tensor:
        """`z` in the outer dtype, kept off the finite ends of the support."""

    @property
    def breakpoints(self) -> Tensor:
        """Ends of the cells between which the energy is smooth, of shape `(*b, G + 1)`."""
        return self.panels.breakpoints

    def __getstate__(self) -> dict[str, Any]:
        # Tables carry the autograd graph, which neither pickle nor deepcopy can follow.
        return {**self.__dict__, "_tables": {}}

    def _version(self) -> object:
        """A value that changes with the parameters, also in place; None where none is known."""
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

    def _tabulate(self) -> Table:
        """The integrals, on panels that are moved until they resolve every density."""
        return resolve(self.panels, self._node_potentials, TOLERANCE[self.dtype])

    def _node_potentials(self, panels: Panels) -> Tensor:
        """Log potential at the nodes of panels, of shape `(*parameter_shape, M, n)`, float64."""
        nodes = panels.nodes.to(self.dtype)
        points = nodes.expand(*self._parameter_shape, -1, -1).flatten(-2).movedim(-1, 0)
        values = self._log_potential(points).double()
        return values.movedim(0, -1).unflatten(-1, nodes.shape[-2:])

    @property
    def mean(self) -> Tensor:
        """Expectation of `z`."""
        self._refresh()
        return self._expectation(self._table.panels.nodes)

    @property
    def variance(self) -> Tensor:
        """Variance of `z`."""
        self._refresh()
        nodes = self._table.panels.nodes
        mean = (self._table.probabilities * nodes).sum((-2, -1), keepdim=True)
        return self._expectation((nodes - mean).square())

    def expectation(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        r"""Expectation :math:`\int g(z) \, p(z) \, dz` by quadrature, without Monte Carlo.

        Arguments:
            function: The function `g`, smooth between the breakpoints. Takes points of shape
                `(..., *batch)` and returns its values in the same shape.

        Returns:
            The expectations, of the shape of the batch; differentiable in the parameters of the
            density and of the function.

        Raises:
            ValueError: If the function does not keep the shape of its argument.

        Example:
            >>> from lvkam_pyro.distributions.energy import EnergyDistribution
            >>> EnergyDistribution(lambda z: 0 * z).expectation(torch.square)  # uniform on [0, 1]
            tensor(0.3333)
        """
        self._refresh()
        points = self._table.points(self._open)
        values = function(points)
        if values.shape != points.shape:
            raise ValueError(
                f"Expected a function that keeps the shape {tuple(points.shape)} of its argument, "
                f"got {tuple(values.shape)}. Take one expectation for each output."
            )
        return self._expectation(self._table.on_panels(values))

    def entropy(self) -> Tensor:
        r"""Differential entropy :math:`-\int p \log p`, in nats."""
        self._refresh()
        return self._expectation(-self._table.log_density)

    def _expectation(self, values: Tensor) -> Tensor:
        """Expectation of a function given by its values at the nodes `(..., M, n)`."""
        expectation = (self._table.probabilities * values).sum((-2, -1))
        return expectation.to(self.dtype).expand(self._batch_shape)


def version_of(tensor: Tensor) -> int | None:
    """The number of in-place changes of a tensor; None in inference mode, which keeps no count."""
    return None if tensor.is_inference() else tensor._version
