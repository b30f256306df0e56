"""The public names of the room, which load on first use."""

from .grid_gibbs import GridGibbsKernel
from .hmc import HMC, MALA, ULA
from .kernel import GradientKernel, Kernel
from .ladder import Ladder, LadderSamples
from .pilot import ConditionalESSSchedule, EqualLengthSchedule
from .schedule import FixedSchedule, PilotSchedule, PowerSchedule

__all__ = [
    "HMC",
    "MALA",
    "ULA",
    "ConditionalESSSchedule",
    "EqualLengthSchedule",
    "FixedSchedule",
    "GradientKernel",
    "GridGibbsKernel",
    "Kernel",
    "Ladder",
    "LadderSamples",
    "PilotSchedule",
    "PowerSchedule",
]
