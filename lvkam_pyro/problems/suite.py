"""All problems by name, and the estimators that are validated on them."""

from functools import partial

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
from lvkam_pyro.problems.families import (
    additive,
    bounded,
    curved,
    data_sets,
    discrete,
    modes,
    normals,
    tails,
)
from lvkam_pyro.problems.family import Family, Half
from lvkam_pyro.problems.linear import bimodal, conjugate_regression, linear_gaussian, mixture_prior
from lvkam_pyro.problems.problem import Problem
from lvkam_pyro.problems.shapes import (
    banana,
    funnel,
    gaussian_shells,
    label_switching,
    spike_and_plateau,
)

_First = partial(Family, stream=0)
"""The problems of the first edition, whose data stay what they were."""

FIRST = (
    _First("linear_gaussian_1", "linear Gaussian, 1-D", Half.CHOOSING, partial(linear_gaussian, 1)),
    _First(
        "linear_gaussian_10", "linear Gaussian, 10-D", Half.REPORTING, partial(linear_gaussian, 10)
    ),
    _First(
        "linear_gaussian_50", "linear Gaussian, 50-D", Half.CHOOSING, partial(linear_gaussian, 50)
    ),
    _First("bimodal", "two modes, 10-D", Half.CHOOSING, bimodal),
    _First(
        "mixture_prior",
        "latents with two peaks, 8-D",
        Half.REPORTING,
        partial(mixture_prior, 8),
        "sum over 256 components",
    ),
    _First(
        "conjugate_regression",
        "regressions on the diabetes data, 5-D",
        Half.REPORTING,
        conjugate_regression,
    ),
    _First(
        "lvkam_chain_8",
        "LV-KAM chain, 8-D",
        Half.CHOOSING,
        partial(lvkam_chain, 8),
        "transfer matrices",
    ),
    _First(
        "lvkam_chain_16",
        "LV-KAM chain, 16-D",
        Half.REPORTING,
        partial(lvkam_chain, 16),
        "transfer matrices",
    ),
    _First(
        "label_switching",
        "exchangeable components, 2-D",
        Half.REPORTING,
        partial(label_switching, 20),
        "tensor quadrature",
    ),
    _First(
        "gaussian_shells",
        "Gaussian shells, 10-D",
        Half.REPORTING,
        gaussian_shells,
        "quadrature over the radius",
    ),
    _First("funnel", "funnel, 10-D", Half.CHOOSING, funnel, "quadrature over the size"),
    _First("banana", "banana, 2-D", Half.CHOOSING, banana, "quadrature over one latent"),
    _First(
        "spike_and_plateau",
        "spike beside a plateau, 10-D",
        Half.REPORTING,
        spike_and_plateau,
        blind_spot="no draw reaches the spike, which holds 98 % of the evidence",
    ),
)
"""The problems that `load_problem` had before there were families."""

_FAMILIES = {
    family.name: family
    for family in (
        *FIRST,
        *modes.FAMILIES,
        *normals.FAMILIES,
        *curved.FAMILIES,
        *tails.FAMILIES,
        *discrete.FAMILIES,
        *bounded.FAMILIES,
        *additive.FAMILIES,
        *data_sets.FAMILIES,
    )
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


def problem_names(half: Half | str | None = None) -> list[str]:
    """The names of all families of problems.

    Args:
        half: Those of one half alone.

    Raises:
        ValueError: If there is no such half.

    Example:
        >>> problem_names()[0], problem_names("reporting")[0]
        ('linear_gaussian_1', 'linear_gaussian_10')
    """
    if half is None:
        return list(_FAMILIES)
    _check_name("half", half, list(Half))
    return [name for name, family in _FAMILIES.items() if family.half == half]


def load_family(name: str) -> Family:
    """A family of problems: a function of a seed.

    Args:
        name: One of `problem_names()`.

    Raises:
        ValueError: If there is no such family.

    Example:
        >>> load_family("banana").problem().log_evidence.shape
        torch.Size([4])
    """
    _check_name("problem", name, problem_names())
    return _FAMILIES[name]


def load_problem(name: str, seed: int = 0, *, dtype: torch.dtype = torch.float64) -> Problem:
    """Builds a problem: a model with data and its exact log evidence.

    Args:
        name: One of `problem_names()`.
        seed: Of the family's parameters and data.
        dtype: Of the data, and of what the model computes.

    Returns:
        The problem, the same each time.

    Raises:
        ValueError: If there is no such problem.

    Example:
        >>> problem = load_problem("banana")
        >>> problem.num_data, problem.source
        (4, 'quadrature over one latent')
    """
    return load_family(name).problem(seed, dtype=dtype)


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
