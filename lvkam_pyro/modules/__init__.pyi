"""The public names of the room, which load on first use."""

from .formulas import SymbolicEnergy
from .generators import KANGenerator, MixtureOfExperts
from .knots import KnotUpdate
from .priors import MixturePrior, ProductPrior
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
