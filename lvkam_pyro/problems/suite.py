"""All problems by name."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from lvkam_pyro.options import suggestion
from lvkam_pyro.problems.bimodal import bimodal
from lvkam_pyro.problems.chain import lvkam_chain
from lvkam_pyro.problems.curved import banana, funnel
from lvkam_pyro.problems.label_switching import label_switching
from lvkam_pyro.problems.linear_gaussian import linear_gaussian
from lvkam_pyro.problems.mixture_prior import mixture_prior
from lvkam_pyro.problems.problem import Problem
from lvkam_pyro.problems.regression import conjugate_regression
from lvkam_pyro.problems.shells import gaussian_shells
from lvkam_pyro.problems.spike import spike_and_plateau

_PROBLEMS: Mapping[str, Callable[[], Problem]] = MappingProxyType(
    {
        "linear_gaussian_1": partial(linear_gaussian, 1),
        "linear_gaussian_10": partial(linear_gaussian, 10),
        "linear_gaussian_50": partial(linear_gaussian, 50),
        "bimodal": bimodal,
        "mixture_prior": mixture_prior,
        "conjugate_regression": conjugate_regression,
        "lvkam_chain_8": partial(lvkam_chain, 8),
        "lvkam_chain_16": partial(lvkam_chain, 16),
        "label_switching": label_switching,
        "gaussian_shells": gaussian_shells,
        "funnel": funnel,
        "banana": banana,
        "spike_and_plateau": spike_and_plateau,
    }
)


def problem_names() -> list[str]:
    """The names of all problems.

    Example:
        >>> problem_names()[0], len(problem_names())
        ('linear_gaussian_1', 13)
    """
    return list(_PROBLEMS)


def load_problem(name: str) -> Problem:
    """Builds a problem: a model with data and its exact log evidence.

    Args:
        name: One of `problem_names()`.

    Returns:
        The problem, the same each time.

    Raises:
        ValueError: If there is no such problem.

    Example:
        >>> problem = load_problem("banana")
        >>> problem.num_data, problem.source
        (4, 'quadrature over one latent')
    """
    if name not in _PROBLEMS:
        raise ValueError(
            f"There is no problem {name!r}.{suggestion(name, _PROBLEMS)} Problems: "
            f"{', '.join(_PROBLEMS)}."
        )
    return _PROBLEMS[name]()
