"""The public names of the room, which load on first use."""

from .annealed import AnnealedImportance
from .auto import Auto
from .bidirectional import Sandwich, sandwich
from .cascade import CascadeEvidence
from .elbo import ELBO
from .estimator import Estimator
from .evidence import Evidence
from .importance import Importance
from .lookahead import Lookahead
from .mixture import MixtureImportance
from .multistate import GridGibbs, MultistateBAR
from .quadrature import Quadrature
from .quasi_monte_carlo import QuasiMonteCarlo
from .rules import CorrectedTrapezoid, HermiteRule, PCHIPRule, Rule, TrapezoidRule
from .smc import MixtureSMC, TemperedSMC
from .steppingstone import SteppingStone
from .thermodynamic import ThermodynamicIntegration
from .verdict import Gate, Verdict

__all__ = [
    "ELBO",
    "AnnealedImportance",
    "Auto",
    "CascadeEvidence",
    "CorrectedTrapezoid",
    "Estimator",
    "Evidence",
    "Gate",
    "GridGibbs",
    "HermiteRule",
    "Importance",
    "Lookahead",
    "MixtureImportance",
    "MixtureSMC",
    "MultistateBAR",
    "PCHIPRule",
    "Quadrature",
    "QuasiMonteCarlo",
    "Rule",
    "Sandwich",
    "SteppingStone",
    "TemperedSMC",
    "ThermodynamicIntegration",
    "TrapezoidRule",
    "Verdict",
    "sandwich",
]
