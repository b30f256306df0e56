"""Log-splines, whose energies are polynomials in each cell, and mixtures of them."""

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, Uniform, constraints

from lvkam_pyro.distributions.energy import build_panels
from lvkam_pyro.distributions.following import check_finite
from lvkam_pyro.distributions.mixture import EnergyMixture
from lvkam_pyro.distributions.panels import Panels
from lvkam_pyro.distributions.rows import choose, horner, in_blocks, locate, row_index
from lvkam_pyro.distributions.shapes import broadcasts_to
from lvkam_pyro.distributions.tabulated import version_of
from lvkam_pyro.distributions.univariate import UnivariateDensity


class LogSpline(UnivariateDensity):
    r"""The energy density of a piecewise polynomial: the fast form of :class:`EnergyDistribution`.

    .. math:: p(z) = \frac{1}{Z} \, e^{f(z)} \, \pi_0(z), \qquad
              f(z) = \sum_{j=0}^{d} a_{gj} t^j, \quad t = \frac{z - b_g}{b_{g+1} - b_g}

    for `z` in cell `g` (Kooperberg and Stone 1991, "A study of logspline density estimation").
    One evaluation is a gather of `d + 1` values and a Horner rule, whatever the number of cells.
    Outside the breakpoints `f` keeps its end values.

    Arguments:
        coefficients: Local coefficients `a`, of shape `(*batch, G, d + 1)`.
        breakpoints: Increasing ends of the cells, of shape `(G + 1,)`, or `(*b, G + 1)` where `b`
            broadcasts to the batch and all rows share their ends; or ready :class:`Panels`.
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
            low, high = points.flatten()[[0, -1]]
            reference = Uniform(low, high, validate_args=False)
        panels = build_panels(breakpoints, reference)
        _check_coefficients(coefficients, panels.breakpoints.shape)
        self.coefficients = coefficients
        super().__init__(
            panels,
            reference,
            coefficients.shape[:-2],
            dtype=coefficients.dtype,
            validate_args=validate_args,
        )
        if self._validate_args:
            check_finite(coefficients.detach())

    def _version(self) -> object:
        return version_of(self.coefficients)

    def _expand_parameters(self, shape: Size) -> None:
        self.coefficients = self.coefficients.expand(*shape, *self.coefficients.shape[-2:])

    def _log_potential(self, z: Tensor) -> Tensor:
        columns = to_columns(self.coefficients)
        return in_blocks(
            lambda block: self._score_block(columns, block), z, batch=self._parameter_shape
        )

    def _score_block(self, columns: list[Tensor], z: Tensor) -> Tensor:
        batch = self._parameter_shape
        cell, t = locate_cell(z, self.panels, batch)
        index = row_index(batch, z) * (self.breakpoints.shape[-1] - 1) + cell
        return self._with_reference(horner(take(columns, index), t), z)

    def _node_potentials(self, panels: Panels) -> Tensor:
        coefficients = self.coefficients.double()
        cell = panels.cell.expand(*self._parameter_shape, -1).unsqueeze(-1)
        local = coefficients.gather(-2, cell.expand(*cell.shape[:-1], coefficients.shape[-1]))
        energy = horner(local.unsqueeze(-2).unbind(-1), panels.position)
        return self._with_reference(energy, panels.nodes)


class LogSplineMixture(EnergyMixture):
    r"""Mixture of :class:`LogSpline` densities, evaluated and drawn in one pass.

    .. math:: p(z) = \sum_p \alpha_p \, e^{f_p(z)} \pi_0(z) / Z_p

    The same density as :class:`EnergyMixture` of the same components. An evaluation finds the cell
    of a point once for all components; a draw finds component and panel together, by one search
    in the row of the `P M` weighted panel masses, and inverts that component alone.

    Arguments:
        components: Log-splines of batch shape `(*batch, P)`.
        logits: Unnormalised log weights, broadcastable to `(*batch, P)`. Default: equal weights.
        validate_args: Whether to check values against the support.

    Example:
        >>> cells = torch.tensor([[[0.0, -8.0]], [[0.0, 8.0]]])  # f(t) = -8 t and 8 t
        >>> mixture = LogSplineMixture(LogSpline(cells, torch.tensor([0.0, 1.0])))
        >>> mixture.icdf(torch.tensor([0.25, 0.5, 0.75]))
        tensor([0.0865, 0.5000, 0.9135])
    """

    components: LogSpline

    def _choose(self, index: Tensor) -> LogSpline:
        return LogSpline(
            choose(self.components.coefficients, index, 2),
            self.panels,
            self.reference,
            validate_args=self._validate_args,
        )

    def _log_potential(self, z: Tensor) -> Tensor:
        columns = to_columns(self._fused_coefficients())
        return in_blocks(
            lambda block: self._score_block(columns, block), z, batch=self._parameter_shape
        )

    def _score_block(self, columns: list[Tensor], z: Tensor) -> Tensor:
        batch = self._parameter_shape
        cell, t = locate_cell(z, self.panels, batch)
        # Components first, so that each is evaluated on points next to each other.
        rows = row_index(Size([*batch, self.logits.shape[-1]]), z).movedim(-1, 0)
        rows = rows.view(-1, *[1] * (z.ndim - len(batch)), *batch)
        index = rows * (self.breakpoints.shape[-1] - 1) + cell
        values = horner(take(columns, index), t)
        values = values[0] if len(values) == 1 else values.logsumexp(0)
        return self.components._with_reference(values, z)

    def _fused_coefficients(self) -> Tensor:
        """Coefficients `(*batch, P, G, d + 1)`, weights and normalisers included."""
        offset = self.log_weights - self.components._table.log_normalizer.to(self.dtype)
        constant, *powers = self.components.coefficients.unbind(-1)
        return torch.stack([constant + offset.unsqueeze(-1), *powers], -1)


def locate_cell(z: Tensor, panels: Panels, batch: Size) -> tuple[Tensor, Tensor]:
    """Cell of each point of shape `(..., *batch)`, an end cell outside, and its position in it."""
    breakpoints = panels.breakpoints
    num_cells = breakpoints.shape[-1] - 1
    if panels.has_equal_cells:
        scale = num_cells / (breakpoints[-1] - breakpoints[0])
        position = ((z - breakpoints[0]) * scale).clamp(0, num_cells)
        # The integer is clamped too: the conversion of a NaN may give any value.
        cell = position.detach().long().clamp(0, num_cells - 1)
        return cell, position - cell.to(position.dtype)
    cell = locate(breakpoints, z, batch)
    row = 0 if breakpoints.ndim == 1 else row_index(batch, z) * num_cells
    rows = () if breakpoints.ndim == 1 else batch
    ends = (breakpoints[..., :-1], breakpoints.diff())
    low, width = take([part.expand(*rows, -1).reshape(-1) for part in ends], row + cell)
    return cell, ((z - low) / width).clamp(0, 1)


def to_columns(coefficients: Tensor) -> list[Tensor]:
    """The coefficients `(*batch, G, d + 1)` of each power, of all cells of all rows.

    One contiguous column each: gathers of single columns are the fastest.
    """
    return list(coefficients.movedim(-1, 0).flatten(1).contiguous().unbind())


def take(columns: list[Tensor], index: Tensor) -> list[Tensor]:
    """The entries `index` of each column."""
    flat = index.reshape(-1)
    return [column.index_select(0, flat).view(index.shape) for column in columns]


def _check_coefficients(coefficients: Tensor, breakpoints: Size) -> None:
    num_cells = breakpoints[-1] - 1
    own = coefficients.shape[:-2]
    if (
        coefficients.ndim < 2
        or coefficients.shape[-2] != num_cells
        or not broadcasts_to(breakpoints[:-1], own)
    ):
        raise ValueError(
            f"Expected coefficients of shape (*batch, G, degree + 1) with G = {num_cells} cells "
            f"between {num_cells + 1} breakpoints, and breakpoints that broadcast to "
            f"(*batch, G + 1), got shape {tuple(coefficients.shape)} and breakpoints "
            f"{tuple(breakpoints)}. BSplineBasis.to_polynomials returns them in this form."
        )
