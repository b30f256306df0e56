"""The public names of the room, which load on first use."""

from .bounds import CurvatureBound
from .energy import EnergyDistribution
from .envelope import ConstantEnvelope, LogLinearEnvelope
from .logspline import LogSpline, LogSplineMixture
from .mixture import EnergyMixture
from .rejection import RejectionSampler

__all__ = [
    "ConstantEnvelope",
    "CurvatureBound",
    "EnergyDistribution",
    "EnergyMixture",
    "LogLinearEnvelope",
    "LogSpline",
    "LogSplineMixture",
    "RejectionSampler",
]
