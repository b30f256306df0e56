"""The log-spline density: an energy that is a polynomial in each cell."""

from collections.abc import Callable

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, Uniform, constraints

from lvkam_pyro.distributions.energy import build_panels, check_finite_energy
from lvkam_pyro.distributions.panels import Panels
from lvkam_pyro.distributions.univariate import UnivariateDensity, is_flat, version_of


class LogSpline(UnivariateDensity):
    r"""The energy density of a piecewise polynomial: the fast form of :class:`EnergyDistribution`.

    .. math:: p(z) = \frac{1}{Z} \, e^{f(z)} \, \pi_0(z), \qquad
              f(z) = \sum_{j=0}^{d} a_{gj} t^j, \quad t = \frac{z - b_g}{b_{g+1} - b_g}

    for `z` in cell `g` (Kooperberg and Stone 1991, "A study of logspline density estimation").
    One evaluation is a gather of `d + 1` numbers and a Horner rule, whatever the number of cells.
    Outside the breakpoints `f` keeps its end values.

    Arguments:
        coefficients: Local coefficients `a`, of shape `(*batch, G, d + 1)`.
        breakpoints: Increasing ends of the cells, of shape `(G + 1,)`, or ready :class:`Panels`.
        reference: One univariate torch distribution :math:`\pi_0`. Default: uniform between the
            first and the last breakpoint.
        validate_args: Whether to check coefficients and values.

    Raises:
        ValueError: If shapes disagree, breakpoints do not increase, or coefficients are not finite.

    Example:
        >>> slope = torch.tensor([[0.0, 2.0]])  # one cell, f(t) = 2 t
        >>> density = LogSpline(slope, torch.tensor([0.0, 1.0]))
        >>> density.cdf(torch.tensor(0.5))  # (e - 1) / (e^2 - 1)
        tensor(0.2689)
    """

    # The last two dimensions are one function's, hence not the batch's.
    arg_constraints = {"coefficients": constraints.independent(constraints.real, 2)}  # noqa: RUF012

    def __init__(
        self,
        coefficients: Tensor,
        breakpoints: Tensor | Panels,
        reference: Distribution | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        if reference is None:
            points = breakpoints.breakpoints if isinstance(breakpoints, Panels) else breakpoints
            reference = Uniform(points[0], points[-1], validate_args=False)
        panels = build_panels(breakpoints, reference)
        _check_coefficients(coefficients, len(panels.breakpoints) - 1)
        self.coefficients = coefficients
        super().__init__(
            panels,
            reference,
            coefficients.shape[:-2],
            dtype=coefficients.dtype,
            validate_args=validate_args,
        )
        if self._validate_args:
            check_finite_energy(coefficients.detach())

    def _version(self) -> object:
        return version_of(self.coefficients)

    def _expand_parameters(self, shape: Size) -> None:
        self.coefficients = self.coefficients.expand(*shape, *self.coefficients.shape[-2:])

    def _log_potential(self, z: Tensor) -> Tensor:
        index, t = self._local(z)
        rows = self.coefficients.reshape(-1, self.coefficients.shape[-1])
        local = rows.index_select(0, index.reshape(-1)).view(*index.shape, rows.shape[-1])
        return self._with_reference(horner(local, t), z)

    def _node_potentials(self) -> Tensor:
        cells = self.coefficients.double()[..., self.panels.cell, None, :]
        return self._with_reference(horner(cells, self.panels.place), self.panels.nodes)

    def _density_in(self, panel: Tensor) -> Callable[[Tensor], Tensor]:
        return self._density_of(self._row_index(), panel)

    def _density_of(self, row: Tensor, panel: Tensor) -> Callable[[Tensor], Tensor]:
        """Log density of the functions `row` in the given panels; gathers coefficients once."""
        breakpoints = self.breakpoints.double()
        cell = self.panels.cell[panel]
        index = row * (len(breakpoints) - 1) + cell
        rows = self.coefficients.double().reshape(-1, self.coefficients.shape[-1])
        local = rows.index_select(0, index.reshape(-1)).view(*index.shape, rows.shape[-1])
        low, width = breakpoints[cell], breakpoints.diff()[cell]
        log_normalizer = self._table.log_normalizer.reshape(-1)[row]

        def log_density(z: Tensor) -> Tensor:
            t = ((z - low) / width).clamp(0, 1)
            return self._with_reference(horner(local, t), z) - log_normalizer

        return log_density

    def _row_index(self) -> Tensor:
        count = self._parameter_shape.numel()
        return torch.arange(count, device=self.coefficients.device).view(self._parameter_shape)

    def _local(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Row of each point in the flat table of cells, and its place `t` in the cell."""
        cell, t = locate_cell(z, self.breakpoints)
        return self._row_index() * (len(self.breakpoints) - 1) + cell, t

    def _with_reference(self, energy: Tensor, z: Tensor) -> Tensor:
        return energy if is_flat(self.reference) else energy + self.reference.log_prob(z)


def locate_cell(z: Tensor, breakpoints: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the cell of each `z`, and its place in it from 0 to 1; the end cells outside."""
    cell = torch.searchsorted(breakpoints[1:-1], z.detach().contiguous(), right=True)
    t = (z - breakpoints[cell]) / breakpoints.diff()[cell]
    return cell, t.clamp(0, 1)


def horner(coefficients: Tensor, t: Tensor) -> Tensor:
    """Polynomial `sum_j a_j t^j` for coefficients of shape `(..., d + 1)` and `t` of `(...)`."""
    terms = coefficients.unbind(-1)
    value = terms[-1]
    for term in terms[-2::-1]:
        value = torch.addcmul(term, value, t)
    return value


def _check_coefficients(coefficients: Tensor, num_cells: int) -> None:
    if coefficients.ndim < 2 or coefficients.shape[-2] != num_cells:
        raise ValueError(
            f"Expected coefficients of shape (*batch, G, degree + 1) with G = {num_cells} cells "
            f"between {num_cells + 1} breakpoints, got shape {tuple(coefficients.shape)}. "
            "BSplineBasis.to_polynomials returns them in this form."
        )
    if coefficients.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"Expected coefficients in float32 or float64, got {coefficients.dtype}: an energy "
            "of 10 in half precision is off by 0.4 per cent in density. Cast with .float()."
        )
