"""B-splines on cells of any widths, evaluated by the polynomials of each cell."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.bspline import BSplineBasis, equal_cells
from lvkam_pyro.kan.bases.extrapolation import CONSTANT, Extrapolation
from lvkam_pyro.kan.bases.splines import SplineBasis, cell_polynomials


class NonUniformBSplineBasis(SplineBasis):
    r"""B-splines of degree :math:`d` on :math:`G` cells of any widths: :math:`K = G + d` functions.

    The cells lie between the breakpoints :math:`b_0 < \dots < b_G`, whose ends are the domain.
    Beyond it the knots go on by :math:`d` cells as wide as the outermost one: equal cells give the
    functions of ``BSplineBasis``, and narrow ones at an end no function that is next to 0 inside,
    so that coefficients stay of the size of the function. In cell :math:`g`, with
    :math:`t = (z - b_g) / (b_{g+1} - b_g)` the position inside it, :math:`d + 1` functions differ
    from 0, and they are polynomials made once:

    .. math:: \phi_{g+j}(z) = \sum_{p=0}^{d} M_{gjp} t^p, \qquad j = 0, \dots, d.

    With a row of breakpoints for each of :math:`I` inputs, points have the shape ``(..., I)``, and
    input :math:`i` has its own cells and functions. Values in float64 are accurate to its rounding
    for the breakpoints as they are kept.

    Args:
        breakpoints: The ends of the cells, ``(G+1,)`` for all inputs or ``(I, G+1)`` for each,
            increasing. All rows have the same first and the same last. A tensor's precision is
            kept.
        degree: The degree :math:`d`, 0 to 5.
        extrapolation: How the functions go on outside, ``ConstantExtrapolation()`` by default.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If the extrapolation is of the wrong type.

    References:
        de Boor, C. (1978). A Practical Guide to Splines, chapter IX.

    Example:
        >>> basis = NonUniformBSplineBasis([0.0, 0.25, 1.0], degree=1)
        >>> basis(torch.tensor([0.125, 1.0]))
        tensor([[0.5000, 0.5000, 0.0000],
                [0.0000, 0.0000, 1.0000]])
        >>> rows = torch.tensor([[0.0, 0.25, 1.0], [0.0, 0.5, 1.0]])
        >>> NonUniformBSplineBasis(rows, degree=1)(torch.tensor([0.125, 0.125]))
        tensor([[0.5000, 0.5000, 0.0000],
                [0.7500, 0.2500, 0.0000]])
    """

    _breakpoints: Tensor
    _exact: Tensor
    _table: Tensor

    def __init__(
        self,
        breakpoints: Tensor | Sequence[float],
        *,
        degree: int = 3,
        extrapolation: Extrapolation = CONSTANT,
    ) -> None:
        rows = _as_rows(breakpoints)
        low, *_, high = rows.reshape(-1, rows.shape[-1])[0].tolist()
        super().__init__((low, high), degree, rows.shape, extrapolation)
        self.register_buffer("_breakpoints", rows)
        self.register_buffer("_exact", self._expand_cells(), persistent=False)
        self.register_buffer("_table", self._tabulate(), persistent=False)

    @property
    def breakpoints(self) -> Tensor:
        """The ends of the cells, ``(G+1,)`` or ``(I, G+1)``."""
        return self._breakpoints

    def slopes_at_ends(self, dtype: torch.dtype) -> Tensor:
        """The derivatives of the first and the last ``degree+1`` functions: ``(2, [I,] d+1)``."""
        polynomials, widths = self._polynomials(dtype), self._breakpoints.diff(dim=-1).to(dtype)
        powers = torch.arange(self.degree + 1, dtype=dtype, device=polynomials.device)
        # At t = 0 only the linear term has a slope; a sum, because degree 0 has no such term.
        at_low = polynomials[..., 0, :, 1:2].sum(-1) / widths[..., :1]
        at_high = polynomials[..., -1, :, :] @ powers / widths[..., -1:]
        return torch.stack([at_low, at_high])

    def local(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The cells of points, `(...)`, and the functions there, `(..., degree+1)`.

        Raises:
            ValueError: If the last dimension of ``z`` is not the number of rows of breakpoints.
        """
        if self._breakpoints.dim() > 1 and z.shape[-1:] != self._breakpoints.shape[:1]:
            raise ValueError(
                f"Expected points of shape (..., {self._breakpoints.shape[0]}), the number of "
                f"inputs that have breakpoints, got {tuple(z.shape)}."
            )
        cell = self._find_cell(z.detach())
        return cell, self._evaluate(z, cell)

    def _find_cell(self, z: Tensor) -> Tensor:
        """The number of inner breakpoints that are not above: 0 to G-1 for whatever number."""
        inner = self._breakpoints[..., 1:-1].movedim(-1, 0).to(z.dtype)
        inner = inner.view(len(inner), *[1] * (z.dim() - inner.dim() + 1), *inner.shape[1:])
        # On 20 cells counting takes a third of a search by bisection; and it batches under vmap.
        return (z >= inner).sum(0, dtype=torch.int16).long()

    def _evaluate(self, z: Tensor, cell: Tensor) -> Tensor:
        """The functions at each point's cell: (...) to (..., degree+1)."""
        # One column a cell of every input. Few rows, since reading them is what takes time: the
        # first function is a power of 1 - t, the last one of t, and the last but one what these
        # and the others leave of 1.
        columns = (cell + self._first_columns(z.device)).flatten()
        table = self._table.to(z.dtype)
        chosen = table.index_select(1, columns).view(len(table), *z.shape)
        left, scale, at_left, at_right = chosen[:4].unbind()
        t = (z - left) * scale
        if self.degree < 2:
            return torch.stack([1 - t, t] if self.degree == 1 else [1 + 0 * t], -1)
        first, last = at_left * (1 - t) ** self.degree, at_right * t**self.degree
        between = _horner(chosen[4:].unflatten(0, (self.degree + 1, self.degree - 2)).unbind(), t)
        rest = 1 - first - last - between.sum(0)
        return torch.stack([first, *between.unbind(), rest, last]).movedim(0, -1)

    def _first_columns(self, device: torch.device) -> Tensor:
        """The number of the first cell of each input in the table: (I,) or ()."""
        shape = self._breakpoints.shape[:-1]
        return torch.arange(
            0, math.prod(shape) * self.grid_size, self.grid_size, device=device
        ).view(shape)

    def _polynomials(self, dtype: torch.dtype) -> Tensor:
        """The coefficients M of every cell: ([I,] G, degree+1 functions, degree+1 powers)."""
        return self._exact.to(dtype)

    def _expand_cells(self) -> Tensor:
        """The coefficients M in float64."""
        return cell_polynomials(self._breakpoints.double(), self.degree)

    def _tabulate(self) -> Tensor:
        """The table that evaluation reads, in float64: a column for each cell of every input.

        Its left end, 1 / its width, the first function there and the last one at its right end,
        then by powers the coefficients of all functions but the first and the last two.
        """
        edges = self._breakpoints.double()
        polynomials = self._exact.movedim((-1, -2), (0, 1))
        ends = [edges[..., :-1], 1 / edges.diff(dim=-1), polynomials[0, 0], polynomials[-1, -1]]
        others = polynomials[:, 1 : max(self.degree - 1, 1)].flatten(0, 1)
        return torch.cat([torch.stack(ends), others]).flatten(1)

    def _follow_breakpoints(self) -> None:
        self._exact = self._expand_cells()
        self._table = self._tabulate()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Converts the breakpoints and makes the tables anew from them, so that they agree."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._follow_breakpoints()
        return self

    def _load_from_state_dict(self, *args: Any) -> None:
        """Makes the tables anew from the breakpoints of the state."""
        super()._load_from_state_dict(*args)
        self._follow_breakpoints()

    def extra_repr(self) -> str:
        """The sizes of this basis."""
        rows = f"{len(self._breakpoints)} rows of " if self._breakpoints.dim() > 1 else ""
        cells = f"{rows}{self.grid_size} cells"
        return f"{cells}, degree={self.degree}, {self._describe_domain()}"


def splines_on(breakpoints: Tensor, like: SplineBasis) -> NonUniformBSplineBasis:
    """Splines on other breakpoints, of the degree and with the extrapolation of a basis."""
    return NonUniformBSplineBasis(breakpoints, degree=like.degree, extrapolation=like.extrapolation)


def _horner(coefficients: Sequence[Tensor], t: Tensor) -> Tensor:
    """The polynomial with coefficients of ascending powers."""
    *lower, values = coefficients
    for coefficient in reversed(lower):
        values = torch.addcmul(coefficient, values, t)
    return values


def _as_rows(breakpoints: Tensor | Sequence[float]) -> Tensor:
    """A floating point copy, once it is what breakpoints must be."""
    rows = torch.as_tensor(breakpoints).detach().clone()
    rows = rows if rows.is_floating_point() else rows.to(torch.get_default_dtype())
    if rows.dim() not in (1, 2) or rows.shape[-1] < 2 or rows.numel() == 0:
        raise ValueError(
            "Expected breakpoints of shape (G+1,) or (I, G+1) with at least one cell, got shape "
            f"{tuple(rows.shape)}."
        )
    steps = rows.diff(dim=-1)
    if not (rows.isfinite().all() and (steps > 0).all()):
        raise ValueError(
            "Expected finite breakpoints that increase along the last dimension, got steps from "
            f"{steps.min():g} to {steps.max():g} between {rows.min():g} and {rows.max():g}."
        )
    ends = rows.reshape(-1, rows.shape[-1])[:, [0, -1]]
    if not (ends == ends[0]).all():
        raise ValueError(
            "Expected all rows of breakpoints to begin and to end at the same two values, the "
            f"domain, got first values from {ends[:, 0].min():g} to {ends[:, 0].max():g} and last "
            f"values from {ends[:, 1].min():g} to {ends[:, 1].max():g}."
        )
    return rows


def restore_basis(basis: Basis, state: Mapping[str, Tensor], prefix: str) -> Basis:
    """The B-splines whose breakpoints a state holds, as many as there are now.

    A layer is built with equal cells and its grid moved later; its state has to find a place in a
    layer that was just built, and the other way round.

    Args:
        basis: The basis of the layer that the state is loaded into.
        state: The state.
        prefix: What the names of the layer's entries begin with.

    Returns:
        The basis to go on with: of the saved breakpoints, or of equal cells if the state holds
        coefficients without breakpoints; the same object where nothing is to be changed.

    Example:
        >>> moved = NonUniformBSplineBasis([0.0, 0.2, 1.0])
        >>> state = {f"basis.{name}": value for name, value in moved.state_dict().items()}
        >>> restore_basis(BSplineBasis(grid_size=2), state, "").breakpoints
        tensor([0.0000, 0.2000, 1.0000])
    """
    breakpoints = state.get(f"{prefix}basis._breakpoints")
    if isinstance(basis, BSplineBasis) and breakpoints is not None:
        return _uneven(basis, breakpoints)
    if isinstance(basis, NonUniformBSplineBasis) and f"{prefix}coefficients" in state:
        if breakpoints is None:
            return equal_cells(basis.grid_size, basis).to(basis.breakpoints)
        return _uneven(basis, breakpoints)
    return basis


def _uneven(basis: SplineBasis, breakpoints: Tensor) -> Basis:
    """Splines on other breakpoints, if there are as many of them."""
    if breakpoints.shape[-1] != basis.grid_size + 1:
        # The coefficients have another shape too, and torch says it.
        return basis
    rows = breakpoints.to(torch.float64, copy=True)
    domain = torch.tensor(basis.domain, dtype=torch.float64, device=rows.device)
    if (breakpoints[..., [0, -1]] == domain.to(breakpoints.dtype)).all():
        # The ends as they are, not rounded to the precision of the breakpoints.
        rows[..., [0, -1]] = domain
    return splines_on(rows, basis).to(basis.breakpoints)
