"""The public names of the room, which load on first use."""

from .convergence import chain_effective_sample_size, chain_rhat, half_drift
from .jackknife import jackknife_error, log_mean_exp
from .quadrature import composite_gauss_legendre, gauss_legendre
from .resampling import (
    resample_multinomial,
    resample_residual,
    resample_stratified,
    resample_systematic,
)
from .uniformity import Uniformity, check_uniformity
from .weights import (
    effective_sample_size,
    largest_weight,
    normalized_weights,
    pareto_k,
    smooth_weights,
    weight_diagnostics,
)

__all__ = [
    "Uniformity",
    "chain_effective_sample_size",
    "chain_rhat",
    "check_uniformity",
    "composite_gauss_legendre",
    "effective_sample_size",
    "gauss_legendre",
    "half_drift",
    "jackknife_error",
    "largest_weight",
    "log_mean_exp",
    "normalized_weights",
    "pareto_k",
    "resample_multinomial",
    "resample_residual",
    "resample_stratified",
    "resample_systematic",
    "smooth_weights",
    "weight_diagnostics",
]
