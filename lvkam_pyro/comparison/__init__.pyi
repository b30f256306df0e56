"""The public names of the room, which load on first use."""

from .bayes_factors import BayesFactor, BayesFactors
from .compare import compare_evidence
from .comparison import EvidenceComparison

__all__ = ["BayesFactor", "BayesFactors", "EvidenceComparison", "compare_evidence"]
