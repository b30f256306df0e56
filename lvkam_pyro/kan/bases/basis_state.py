"""The basis that the state of a layer was saved with."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.bspline import BSplineBasis, equal_cells
from lvkam_pyro.kan.bases.nonuniform import NonUniformBSplineBasis, splines_on
from lvkam_pyro.kan.bases.splines import SplineBasis


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
