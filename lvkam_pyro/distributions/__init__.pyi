"""The public names of the room, which load on first use."""

from .energy import EnergyDistribution
from .envelope import ConstantEnvelope, CurvatureBound, LogLinearEnvelope
from .logspline import LogSpline
from .logspline_mixture import LogSplineMixture
from .mixture import EnergyMixture
from .nodes import QuadratureNodes
from .rejection import RejectionSampler

__all__ = [
    "ConstantEnvelope",
    "CurvatureBound",
    "EnergyDistribution",
    "EnergyMixture",
    "LogLinearEnvelope",
    "LogSpline",
    "LogSplineMixture",
    "QuadratureNodes",
    "RejectionSampler",
]
