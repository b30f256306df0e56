"""The public names of the room, which load on first use."""

from .family import Family, Half
from .problem import Problem
from .suite import load_family, load_problem, problem_names
from .validation import Validation, ValidationTrial, validate

__all__ = [
    "Family",
    "Half",
    "Problem",
    "Validation",
    "ValidationTrial",
    "load_family",
    "load_problem",
    "problem_names",
    "validate",
]
