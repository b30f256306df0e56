"""The public names of the room, which load on first use."""

from .annealed import AnnealedImportance, MixtureSMC, TemperedSMC
from .auto import Auto
from .bidirectional import Sandwich, sandwich
from .bridge import Bridge
from .cascade import CascadeEvidence
from .elbo import ELBO
from .estimator import Estimator
from .evidence import Evidence
from .importance import Importance, MixtureImportance
from .lookahead import Lookahead
from .multistate import GridGibbs, MultistateBAR
from .proposals import MixtureProposal, NormalProposal, Proposal, WarpProposal
from .quadrature import Quadrature
from .quasi_monte_carlo import QuasiMonteCarlo
from .rules import CorrectedTrapezoid, HermiteRule, PCHIPRule, Rule, TrapezoidRule
from .steppingstone import SteppingStone
from .thermodynamic import ThermodynamicIntegration
from .verdict import Gate, Verdict

__all__ = [
    "ELBO",
    "AnnealedImportance",
    "Auto",
    "Bridge",
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
    "MixtureProposal",
    "MixtureSMC",
    "MultistateBAR",
    "NormalProposal",
    "PCHIPRule",
    "Proposal",
    "Quadrature",
    "QuasiMonteCarlo",
    "Rule",
    "Sandwich",
    "SteppingStone",
    "TemperedSMC",
    "ThermodynamicIntegration",
    "TrapezoidRule",
    "Verdict",
    "WarpProposal",
    "sandwich",
]
