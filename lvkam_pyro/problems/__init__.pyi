"""The public names of the room, which load on first use."""

from .calibration import Calibration
from .family import Family, Half
from .problem import Problem
from .suite import load_family, load_problem, problem_names
from .trial import SilentError, ValidationTrial
from .validation import Validation, validate

__all__ = [
    "Calibration",
    "Family",
    "Half",
    "Problem",
    "SilentError",
    "Validation",
    "ValidationTrial",
    "load_family",
    "load_problem",
    "problem_names",
    "validate",
]
