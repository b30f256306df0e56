"""The public names of the room, which load on first use."""

from .amortized import AmortizedGuide
from .grid_gibbs_guide import GridGibbsGuide
from .importance import ImportanceGuide
from .ladder_guide import LadderGuide
from .lookahead import LookaheadGuide
from .memory import ChainMemory
from .mixture import MixtureGuide
from .nuts import NUTSGuide
from .rejection import RejectionDraws, RejectionGuide

__all__ = [
    "AmortizedGuide",
    "ChainMemory",
    "GridGibbsGuide",
    "ImportanceGuide",
    "LadderGuide",
    "LookaheadGuide",
    "MixtureGuide",
    "NUTSGuide",
    "RejectionDraws",
    "RejectionGuide",
]
