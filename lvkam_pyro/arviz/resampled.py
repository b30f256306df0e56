"""What was made of weighted particles: how much it is worth is noted on it, and said if little."""

import warnings
from collections.abc import Mapping

import xarray as xr

from lvkam_pyro.statistics.weights import MAX_PARETO_K

RESAMPLING = "importance resampling"
"""What the posterior's attribute `sampler` says of resampled draws."""

POWER_POSTERIOR = "power posterior"
"""The same of those of a ladder."""


class UnreliablePosteriorWarning(UserWarning):
    """A group for ArviZ was made of weighted particles that do not represent the posterior.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", UnreliablePosteriorWarning)
    """


def note_weights(
    groups: Mapping[str, xr.Dataset], *, group: str = "posterior", **notes: object
) -> None:
    """Notes on a group how good the particles are that it was made of.

    Args:
        groups: The groups, `importance` among them; the attributes of the one named change.
        group: The group.
        **notes: Further attributes.
    """
    k, ess = groups["importance"]["pareto_k"], groups["importance"]["ess"]
    groups[group].attrs.update(
        **notes,
        smallest_weight_ess=float(ess.min()),
        largest_pareto_k=float(k.max()),
        num_unreliable=int((k > MAX_PARETO_K).sum()),
    )


def warn_of_weights(groups: Mapping[str, xr.Dataset]) -> None:
    """Warns of groups that were made of particles which do not represent the posterior.

    Args:
        groups: The groups with their notes.
    """
    doubtful = [name for name, group in groups.items() if group.attrs.get("num_unreliable")]
    if doubtful:
        # Without numbers: Python then shows it once a place, not at every datum.
        warnings.warn(
            f"The {' and '.join(doubtful)} comes, for some data at least, from particles with "
            f"Pareto k above {MAX_PARETO_K}: it rests on few of them, and is not reliable. See "
            "the group 'importance'; pass a guide closer to the posterior, a ladder "
            "(Ladder), an evidence, or more particles.",
            UnreliablePosteriorWarning,
            # To the line that called to_arviz.
            stacklevel=4,
        )
