"""The public names of the room, which load on first use."""

from .calibration import plot_loo_pit
from .convergence import plot_convergence
from .densities import plot_prior_densities
from .evidence import plot_evidence
from .function_grid import plot_function_grid
from .functions import plot_functions
from .loss import plot_loss
from .mismatch import plot_mismatch
from .network import plot_network
from .power_posteriors import plot_power_posteriors
from .predictive import plot_predictive_check
from .samples import plot_samples
from .thermodynamic import plot_thermodynamic_curve
from .traversals import plot_traversals
from .uniformity import plot_ecdf_difference, plot_ranks
from .weights import plot_importance_weights

__all__ = [
    "plot_convergence",
    "plot_ecdf_difference",
    "plot_evidence",
    "plot_function_grid",
    "plot_functions",
    "plot_importance_weights",
    "plot_loo_pit",
    "plot_loss",
    "plot_mismatch",
    "plot_network",
    "plot_power_posteriors",
    "plot_predictive_check",
    "plot_prior_densities",
    "plot_ranks",
    "plot_samples",
    "plot_thermodynamic_curve",
    "plot_traversals",
]
