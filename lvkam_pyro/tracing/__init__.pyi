"""The public names of the room, which load on first use."""

from .bind import bind, bind_guide, draw_particles
from .particles import Particles
from .prior_guide import PriorGuide
from .program import BoundProgram
from .stacking import StackingWarning
from .structure import Unit

__all__ = [
    "BoundProgram",
    "Particles",
    "PriorGuide",
    "StackingWarning",
    "Unit",
    "bind",
    "bind_guide",
    "draw_particles",
]
