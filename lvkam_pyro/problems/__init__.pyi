"""The public names of the room, which load on first use."""

from .problem import Problem
from .suite import load_problem, problem_names
from .validation import Validation, ValidationTrial, validate

__all__ = ["Problem", "Validation", "ValidationTrial", "load_problem", "problem_names", "validate"]
