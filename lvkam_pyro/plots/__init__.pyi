"""The public names of the room, which load on first use."""

from ._check import check, importance_weights, mismatch
from ._densities import prior_densities
from ._evidence import evidence
from ._functions import function_grid, functions
from ._ladder import convergence, has_curve, thermodynamic_curve
from ._loss import loss
from ._network import network
from ._power_posteriors import power_posteriors
from ._samples import predictive_check, samples
from ._traversals import can_traverse, traversals
from ._uniformity import ecdf_difference, loo_pit, ranks

__all__ = [
    "can_traverse",
    "check",
    "convergence",
    "ecdf_difference",
    "evidence",
    "function_grid",
    "functions",
    "has_curve",
    "importance_weights",
    "loo_pit",
    "loss",
    "mismatch",
    "network",
    "power_posteriors",
    "predictive_check",
    "prior_densities",
    "ranks",
    "samples",
    "thermodynamic_curve",
    "traversals",
]
