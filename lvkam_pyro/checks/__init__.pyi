"""The public names of the room, which load on first use."""

from .calibration import SBC, sbc
from .check import CheckResult, Finding, Severity
from .convergence_check import ConvergenceCheck, EvidenceCheck, check_convergence
from .discrepancies import Discrepancy
from .leave_one_out import LOOPIT, loo_pit
from .mismatch import PriorPosteriorMismatch, prior_posterior_mismatch
from .predictive import (
    PosteriorPredictiveCheck,
    PredictiveCheck,
    PriorPredictiveCheck,
    posterior_predictive_check,
    prior_predictive_check,
)
from .samplers import (
    GuideSampler,
    ImportanceSampler,
    LadderSampler,
    PosteriorSampler,
    draw_posterior,
)
from .weights_check import WeightsCheck, check_weights

__all__ = [
    "LOOPIT",
    "SBC",
    "CheckResult",
    "ConvergenceCheck",
    "Discrepancy",
    "EvidenceCheck",
    "Finding",
    "GuideSampler",
    "ImportanceSampler",
    "LadderSampler",
    "PosteriorPredictiveCheck",
    "PosteriorSampler",
    "PredictiveCheck",
    "PriorPosteriorMismatch",
    "PriorPredictiveCheck",
    "Severity",
    "WeightsCheck",
    "check_convergence",
    "check_weights",
    "draw_posterior",
    "loo_pit",
    "posterior_predictive_check",
    "prior_posterior_mismatch",
    "prior_predictive_check",
    "sbc",
]
