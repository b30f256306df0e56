"""Every basis there is, for the contract tests. A new basis joins in one line."""

from lvkam_pyro.kan.basis import Basis
from lvkam_pyro.kan.bspline import BSplineBasis
from lvkam_pyro.kan.extrapolation import LinearExtrapolation

BASES: dict[str, Basis] = {
    **{f"b-spline degree {d}": BSplineBasis(grid_size=4, degree=d) for d in range(6)},
    "b-spline one cell": BSplineBasis(grid_size=1, degree=2),
    "b-spline wide domain": BSplineBasis(grid_size=7, domain=(-3.0, 5.0)),
    "b-spline with tangents": BSplineBasis(grid_size=4, extrapolation=LinearExtrapolation()),
}
