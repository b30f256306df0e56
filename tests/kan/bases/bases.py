"""Every basis there is, for the contract tests. A new basis joins in one line."""

import copy

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.chebyshev import ChebyshevBasis
from lvkam_pyro.kan.bases.extrapolation import (
    AnalyticExtrapolation,
    Extrapolation,
    LinearExtrapolation,
)
from lvkam_pyro.kan.bases.fourier import FourierBasis
from lvkam_pyro.kan.bases.nonuniform import NonUniformBSplineBasis
from lvkam_pyro.kan.bases.radial import RBFBasis, RSWAFBasis
from lvkam_pyro.kan.bases.wavelet import MorletBasis

BASES: dict[str, Basis] = {
    **{f"b-spline degree {d}": BSplineBasis(grid_size=4, degree=d) for d in range(6)},
    "b-spline one cell": BSplineBasis(grid_size=1, degree=2),
    "b-spline wide domain": BSplineBasis(grid_size=7, domain=(-3.0, 5.0)),
    "b-spline with tangents": BSplineBasis(grid_size=4, extrapolation=LinearExtrapolation()),
    "b-spline uneven cells": NonUniformBSplineBasis([0.0, 0.125, 0.5, 0.75, 1.0]),
    "rbf": RBFBasis(6),
    "rbf one function": RBFBasis(1, domain=(-3.0, 5.0)),
    "rbf learned bandwidth": RBFBasis(5, bandwidth=0.75, trainable_bandwidth=True),
    "rbf decaying": RBFBasis(5, extrapolation=AnalyticExtrapolation()),
    "rswaf": RSWAFBasis(6, domain=(-3.0, 5.0)),
    "rswaf learned bandwidth": RSWAFBasis(5, trainable_bandwidth=True),
    "fourier": FourierBasis(7),
    "fourier even": FourierBasis(4, bandwidth=0.5, domain=(-3.0, 5.0)),
    "fourier learned bandwidth": FourierBasis(5, trainable_bandwidth=True),
    "fourier repeating": FourierBasis(5, extrapolation=AnalyticExtrapolation()),
    "chebyshev": ChebyshevBasis(7),
    "chebyshev constant": ChebyshevBasis(1),
    "chebyshev with tangents": ChebyshevBasis(
        5, domain=(-3.0, 5.0), extrapolation=LinearExtrapolation()
    ),
    "morlet": MorletBasis(6),
    "morlet learned bandwidth": MorletBasis(4, frequency=5.0, trainable_bandwidth=True),
    **{
        f"uneven b-spline degree {d}": NonUniformBSplineBasis([-1.0, 0.5, 0.6, 2.0], degree=d)
        for d in range(6)
    },
}


def extrapolated(basis: Basis, extrapolation: Extrapolation) -> Basis:
    """The same functions, continued in another way."""
    twin = copy.deepcopy(basis)
    twin.extrapolation = extrapolation
    return twin
