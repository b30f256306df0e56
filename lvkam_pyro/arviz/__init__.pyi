"""The public names of the room, which load on first use."""

from .convert import arviz_groups, to_arviz
from .draws import PosteriorDraws
from .weights import UnreliablePosteriorWarning

__all__ = [
    "PosteriorDraws",
    "UnreliablePosteriorWarning",
    "arviz_groups",
    "to_arviz",
]
