"""Resampled draws: how much they are worth is noted on them, and said where it is little."""

import warnings
from collections.abc import Mapping

import xarray as xr

_MAX_PARETO_K = 0.7
"""Above it importance weights are not dependable (Vehtari et al. 2024, section 3.2.4)."""


class UnreliablePosteriorWarning(UserWarning):
    """Draws for ArviZ were resampled from particles that do not represent the posterior.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", UnreliablePosteriorWarning)
    """


def mark_resampled(groups: Mapping[str, xr.Dataset], *, num_particles: int) -> None:
    """Notes on the posterior how far its draws are from independent ones, and warns.

    Args:
        groups: The groups, with `posterior` and `importance`; the first one's attributes change.
        num_particles: Particles a chain.
    """
    importance = groups["importance"]
    k, ess = importance["pareto_k"], importance["ess"]
    num_bad = int((k > _MAX_PARETO_K).sum())
    groups["posterior"].attrs.update(
        sampler="importance resampling",
        num_particles=num_particles,
        smallest_weight_ess=float(ess.min()),
        largest_pareto_k=float(k.max()),
        num_unreliable=num_bad,
    )
    if num_bad:
        # Without numbers: Python then shows it once a place, not at every datum.
        warnings.warn(
            "The posterior draws of some data are resampled from particles with Pareto k above "
            f"{_MAX_PARETO_K}: they are copies of few and do not represent the posterior. See the "
            "group 'importance'; pass a guide closer to the posterior, or a ladder "
            "(PowerPosterior), or more particles.",
            UnreliablePosteriorWarning,
            # Past the conversion, the dispatch and to_arviz, to the line that called it.
            stacklevel=5,
        )
