"""The estimators that are validated: every public one, at its default size."""

from collections.abc import Mapping
from types import MappingProxyType

from lvkam_pyro.evidence.annealed import AnnealedImportance
from lvkam_pyro.evidence.auto import Auto
from lvkam_pyro.evidence.elbo import ELBO
from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.evidence.importance import Importance
from lvkam_pyro.evidence.lookahead import Lookahead
from lvkam_pyro.evidence.mixture import MixtureImportance
from lvkam_pyro.evidence.multistate import GridGibbs, MultistateBAR
from lvkam_pyro.evidence.quadrature import Quadrature
from lvkam_pyro.evidence.quasi_monte_carlo import QuasiMonteCarlo
from lvkam_pyro.evidence.smc import TemperedSMC
from lvkam_pyro.evidence.steppingstone import SteppingStone
from lvkam_pyro.evidence.thermodynamic import ThermodynamicIntegration
from lvkam_pyro.options import suggestion

_ESTIMATORS = (
    ELBO,
    Importance,
    ThermodynamicIntegration,
    SteppingStone,
    MultistateBAR,
    AnnealedImportance,
    TemperedSMC,
    Quadrature,
    QuasiMonteCarlo,
    MixtureImportance,
    Lookahead,
    GridGibbs,
    Auto,
)
_BY_NAME: Mapping[str, type[Estimator]] = MappingProxyType(
    {estimator.name: estimator for estimator in _ESTIMATORS}
)


def estimator_names() -> list[str]:
    """The names of the estimators that are validated.

    Example:
        >>> estimator_names()[:2]
        ['ELBO', 'Importance']
    """
    return list(_BY_NAME)


def make_estimator(name: str) -> Estimator:
    """An estimator of the default size.

    Args:
        name: One of `estimator_names()`.

    Raises:
        ValueError: If there is no such estimator.

    Example:
        >>> make_estimator("Lookahead").num_particles
        8192
    """
    if name not in _BY_NAME:
        raise ValueError(
            f"There is no estimator {name!r}.{suggestion(name, _BY_NAME)} Estimators: "
            f"{', '.join(_BY_NAME)}."
        )
    return _BY_NAME[name]()
