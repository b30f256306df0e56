"""The public names of the room, which load on first use."""

from .conversion import arviz_groups
from .convert import to_arviz
from .recorded_nuts import RecordedNUTS
from .resampled import UnreliablePosteriorWarning

__all__ = ["RecordedNUTS", "UnreliablePosteriorWarning", "arviz_groups", "to_arviz"]
