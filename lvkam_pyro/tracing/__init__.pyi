"""The public names of the room, which load on first use."""

from .particles import Particles, draw_particles
from .prior_guide import PriorGuide

__all__ = ["Particles", "PriorGuide", "draw_particles"]
