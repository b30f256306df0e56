"""All problems by name, and the estimators that are validated on them."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from lvkam_pyro.evidence.annealed import AnnealedImportance, MixtureSMC, TemperedSMC
from lvkam_pyro.evidence.auto import Auto
from lvkam_pyro.evidence.bridge import Bridge
from lvkam_pyro.evidence.elbo import ELBO
from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.evidence.importance import Importance, MixtureImportance
from lvkam_pyro.evidence.lookahead import Lookahead
from lvkam_pyro.evidence.multistate import GridGibbs, MultistateBAR
from lvkam_pyro.evidence.quadrature import Quadrature
from lvkam_pyro.evidence.quasi_monte_carlo import QuasiMonteCarlo
from lvkam_pyro.evidence.steppingstone import SteppingStone
from lvkam_pyro.evidence.thermodynamic import ThermodynamicIntegration
from lvkam_pyro.options import suggestion
from lvkam_pyro.problems.chain import lvkam_chain
from lvkam_pyro.problems.linear import bimodal, conjugate_regression, linear_gaussian, mixture_prior
from lvkam_pyro.problems.problem import Answered, Problem
from lvkam_pyro.problems.shapes import (
    banana,
    funnel,
    gaussian_shells,
    label_switching,
    spike_and_plateau,
)
from lvkam_pyro.tracing.session import seeded_rng


class _Entry(NamedTuple):
    """A line of the suite; `Problem` says what each field is."""

    title: str
    answered: Callable[[], Answered]
    source: str = "closed form"
    blind_spot: str = ""


_PROBLEMS = {
    "linear_gaussian_1": _Entry("linear Gaussian, 1-D", partial(linear_gaussian, 1)),
    "linear_gaussian_10": _Entry("linear Gaussian, 10-D", partial(linear_gaussian, 10)),
    "linear_gaussian_50": _Entry("linear Gaussian, 50-D", partial(linear_gaussian, 50)),
    "bimodal": _Entry("two modes, 10-D", bimodal),
    "mixture_prior": _Entry(
        "latents with two peaks, 8-D", partial(mixture_prior, 8), "sum over 256 components"
    ),
    "conjugate_regression": _Entry("regressions on the diabetes data, 5-D", conjugate_regression),
    "lvkam_chain_8": _Entry("LV-KAM chain, 8-D", partial(lvkam_chain, 8), "transfer matrices"),
    "lvkam_chain_16": _Entry("LV-KAM chain, 16-D", partial(lvkam_chain, 16), "transfer matrices"),
    "label_switching": _Entry(
        "exchangeable components, 2-D", partial(label_switching, 20), "tensor quadrature"
    ),
    "gaussian_shells": _Entry(
        "Gaussian shells, 10-D", gaussian_shells, "quadrature over the radius"
    ),
    "funnel": _Entry("funnel, 10-D", funnel, "quadrature over the size"),
    "banana": _Entry("banana, 2-D", banana, "quadrature over one latent"),
    "spike_and_plateau": _Entry(
        "spike beside a plateau, 10-D",
        spike_and_plateau,
        blind_spot="no draw reaches the spike, which holds 98 % of the evidence",
    ),
}

_ESTIMATORS: tuple[type[Estimator], ...] = (
    ELBO,
    Importance,
    ThermodynamicIntegration,
    SteppingStone,
    MultistateBAR,
    AnnealedImportance,
    TemperedSMC,
    MixtureSMC,
    Quadrature,
    QuasiMonteCarlo,
    MixtureImportance,
    Bridge,
    Lookahead,
    GridGibbs,
    Auto,
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
    _check_name("problem", name, problem_names())
    entry = _PROBLEMS[name]
    with seeded_rng(0, torch.empty(0)):
        model, x, log_evidence = entry.answered()
    return Problem(name, entry.title, model, x, log_evidence, entry.source, entry.blind_spot)


def estimator_names() -> list[str]:
    """The names of the estimators that are validated: every public one.

    Example:
        >>> estimator_names()[:2]
        ['ELBO', 'Importance']
    """
    return [estimator.name for estimator in _ESTIMATORS]


def make_estimator(name: str) -> Estimator:
    """An estimator of the default size.

    Args:
        name: One of `estimator_names()`.

    Raises:
        ValueError: If there is no such estimator.

    Example:
        >>> make_estimator("Lookahead").name
        'Lookahead'
    """
    _check_name("estimator", name, estimator_names())
    return _ESTIMATORS[estimator_names().index(name)]()


def _check_name(kind: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise ValueError(
            f"There is no {kind} {name!r}.{suggestion(name, known)} {kind.title()}s: "
            f"{', '.join(known)}."
        )
