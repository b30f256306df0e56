"""The public names of the room, which load on first use."""

from .resampling import (
    resample_multinomial,
    resample_residual,
    resample_stratified,
    resample_systematic,
)
from .uniformity import Uniformity, check_uniformity

__all__ = [
    "Uniformity",
    "check_uniformity",
    "resample_multinomial",
    "resample_residual",
    "resample_stratified",
    "resample_systematic",
]
