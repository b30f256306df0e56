"""One component of a mixture, chosen by a number: what a discrete site selects."""

import torch
from torch import Size, Tensor
from torch.distributions import constraints

from lvkam_pyro.distributions.table import Table
from lvkam_pyro.distributions.univariate import UnivariateDensity


class ComponentDensity(UnivariateDensity):
    r"""For each entry of the batch, one of the components: :math:`p(z \mid c) = p_c(z)`.

    Made by :meth:`EnergyMixture.component`. Its integrals are the components' own.

    Arguments:
        components: Densities whose last batch dimension is the component, `(*batch, P)`.
        index: Numbers of the components, that broadcast with `(*batch)`.
        validate_args: Whether to check values against the support.

    Example:
        >>> from lvkam_pyro.distributions.energy import EnergyDistribution
        >>> tilt = torch.tensor([-8.0, 8.0])
        >>> components = EnergyDistribution(lambda z: tilt * z)
        >>> ComponentDensity(components, torch.tensor([1, 1, 0])).mean
        tensor([0.8753, 0.8753, 0.1247])
    """

    arg_constraints = {"index": constraints.nonnegative_integer}  # noqa: RUF012 - torch's own form

    def __init__(
        self, components: UnivariateDensity, index: Tensor, *, validate_args: bool | None = None
    ) -> None:
        self.components = components._spread()
        shape = torch.broadcast_shapes(index.shape, components.batch_shape[:-1])
        self.index = index.expand(shape)
        super().__init__(
            components.panels.component(),
            components.reference,
            shape,
            dtype=components.dtype,
            validate_args=validate_args,
        )

    def _version(self) -> object:
        return self.components._version()

    def _refresh(self) -> None:
        super()._refresh()
        self.components._refresh()

    def _expand_parameters(self, shape: Size) -> None:
        self.index = self.index.expand(shape)

    def _log_potential(self, z: Tensor) -> Tensor:
        every = self.components._apply(self.components._log_potential, z.unsqueeze(-1))
        index = self.index.expand(every.shape[:-1]).unsqueeze(-1)
        return every.gather(-1, index).squeeze(-1)

    def _tabulate(self) -> Table:
        """The rows of the components' table: no quadrature of its own."""
        table, own = self.components._table, self.components._parameter_shape
        panels = table.panels.component()
        if table.panels.edges.ndim > 1:
            rows = (table.panels.edges, table.panels.section)
            edges, section = (choose(each.expand(*own, -1), self.index, 1) for each in rows)
            panels = panels.moved(edges, section)
        return Table(panels, choose(table.potentials, self.index, 2))


def choose(table: Tensor, index: Tensor, num_own: int) -> Tensor:
    """`table[batch, index]` for a table `(*batch, P, *own)` with `num_own` dimensions in `own`."""
    *batch, count = table.shape[: table.ndim - num_own]
    row = torch.arange(Size(batch).numel(), device=table.device).view(batch) * count + index
    rows = table.reshape(-1, *table.shape[table.ndim - num_own :])
    return rows.index_select(0, row.reshape(-1)).view(*row.shape, *rows.shape[1:])


def check_index(index: Tensor, count: int) -> None:
    """Raise a ValueError unless all are numbers of components."""
    integral = not (index.is_floating_point() or index.is_complex() or index.dtype == torch.bool)
    if not (integral and bool(((index >= 0) & (index < count)).all())):
        raise ValueError(
            f"Expected integer numbers of components from 0 to {count - 1}, got {index.dtype} "
            f"values {index.flatten()[:5].tolist()}. Draw them from mixture.mixture_distribution."
        )
