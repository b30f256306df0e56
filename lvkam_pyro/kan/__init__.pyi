"""The public names of the room, which load on first use."""

from .bases.basis import Basis
from .bases.bspline import BSplineBasis
from .bases.chebyshev import ChebyshevBasis
from .bases.dense import DenseBasis
from .bases.extrapolation import (
    AnalyticExtrapolation,
    ConstantExtrapolation,
    Extrapolation,
    LinearExtrapolation,
)
from .bases.fourier import FourierBasis
from .bases.nonuniform import NonUniformBSplineBasis
from .bases.radial import RBFBasis, RSWAFBasis
from .bases.wavelet import MorletBasis
from .grids.grid import GridUpdate, refine_grid, update_grid
from .grids.grid_schedule import GridSchedule
from .layer import KANLayer
from .network import KAN
from .pruning import Pruning, edge_importance, prune
from .regularization import edge_entropy, edge_l1, roughness
from .symbolic.fit import SymbolicFit, fit_symbolic
from .symbolic.forms import Formula, SymbolicForm
from .symbolic.layer import SymbolicLayer
from .symbolic.layer_fit import LayerFit, fit_symbolic_layer
from .symbolic.network import auto_symbolic, to_sympy

__all__ = [
    "KAN",
    "AnalyticExtrapolation",
    "BSplineBasis",
    "Basis",
    "ChebyshevBasis",
    "ConstantExtrapolation",
    "DenseBasis",
    "Extrapolation",
    "Formula",
    "FourierBasis",
    "GridSchedule",
    "GridUpdate",
    "KANLayer",
    "LayerFit",
    "LinearExtrapolation",
    "MorletBasis",
    "NonUniformBSplineBasis",
    "Pruning",
    "RBFBasis",
    "RSWAFBasis",
    "SymbolicFit",
    "SymbolicForm",
    "SymbolicLayer",
    "auto_symbolic",
    "edge_entropy",
    "edge_importance",
    "edge_l1",
    "fit_symbolic",
    "fit_symbolic_layer",
    "prune",
    "refine_grid",
    "roughness",
    "to_sympy",
    "update_grid",
]
