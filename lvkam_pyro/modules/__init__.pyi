"""The public names of the room, which load on first use."""

from .formulas import SymbolicEnergy
from .gating import MixtureOfExperts
from .generator import KANGenerator
from .knots import KnotUpdate
from .mixture_prior import MixturePrior
from .product_prior import ProductPrior
from .reference import LogNormalReference, NormalReference, ReferenceMeasure
from .summary import PriorSummary

__all__ = [
    "KANGenerator",
    "KnotUpdate",
    "LogNormalReference",
    "MixtureOfExperts",
    "MixturePrior",
    "NormalReference",
    "PriorSummary",
    "ProductPrior",
    "ReferenceMeasure",
    "SymbolicEnergy",
]
