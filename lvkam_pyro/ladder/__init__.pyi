"""The public names of the room, which load on first use."""

from .grid_gibbs import GridGibbsKernel
from .hmc import HMC
from .kernel import Kernel
from .ladder import Ladder, LadderSamples
from .mala import MALA, ULA
from .pilot import ConditionalESSSchedule, EqualLengthSchedule
from .schedule import FixedSchedule, PilotSchedule, PowerSchedule

__all__ = [
    "HMC",
    "MALA",
    "ULA",
    "ConditionalESSSchedule",
    "EqualLengthSchedule",
    "FixedSchedule",
    "GridGibbsKernel",
    "Kernel",
    "Ladder",
    "LadderSamples",
    "PilotSchedule",
    "PowerSchedule",
]
