"""The public names of the room, which load on first use."""

from .diagnosis import Diagnosis
from .model_report import diagnose

__all__ = ["Diagnosis", "diagnose"]
