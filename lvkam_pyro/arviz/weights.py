"""Groups of weighted particles, and how much that is worth that was made of them."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr

from lvkam_pyro.arviz.datasets import Named
from lvkam_pyro.arviz.layout import UnitLayout
from lvkam_pyro.statistics.weights import MAX_PARETO_K, smooth_weights, weight_diagnostics
from lvkam_pyro.tracing.particles import Particles

PARTICLE = ("chain", "particle")
"""Not draws: these carry weights, which ArviZ's statistics would ignore."""


class UnreliablePosteriorWarning(UserWarning):
    """A group for ArviZ was made of weighted particles that do not represent the posterior.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", UnreliablePosteriorWarning)
    """


def weight_groups(chains: Sequence[Particles], layout: UnitLayout) -> dict[str, xr.Dataset]:
    """The particles of all chains with their weights, and what the weights say of the guide.

    Args:
        chains: Independent particles, one set a chain.
        layout: Names of the axes.

    Returns:
        `proposal` (latents without a data axis where all data share them, `log_weights`, and
        `log_weights_psis`, Pareto smoothed and normalised over all chains) and `importance`
        (`log_evidence`, `ess`, `pareto_k`, `largest_weight` a unit, over the particles of all
        chains together).

    Example:
        >>> zeros = torch.zeros(100, 1)
        >>> chains = [Particles({"z": zeros}, zeros, zeros, zeros)]
        >>> groups = weight_groups(chains, UnitLayout.of_latents({"z": zeros}))
        >>> groups["importance"]["ess"].dims, groups["importance"].attrs["num_particles"]
        (('data',), 100)
    """
    log_weights = torch.stack([chain.log_weights for chain in chains])
    pooled = log_weights.flatten(0, 1)
    smoothed, _ = smooth_weights(pooled)
    statistics = {
        "log_evidence": pooled.logsumexp(0) - np.log(len(pooled)),
        **weight_diagnostics(pooled),
    }
    proposal = {
        **{name: _latent(name, chains, layout) for name in chains[0].latents},
        "log_weights": layout.unit(log_weights, *PARTICLE),
        "log_weights_psis": layout.unit(smoothed.log_softmax(0).view_as(log_weights), *PARTICLE),
    }
    importance = {name: layout.unit(values) for name, values in statistics.items()}
    return {
        "proposal": layout.group(proposal),
        "importance": layout.group(importance, attrs={"num_particles": len(pooled)}),
    }


def _latent(name: str, chains: Sequence[Particles], layout: UnitLayout) -> Named:
    values = torch.stack([chain.latents[name] for chain in chains])
    if values.shape[2] == 1 and chains[0].num_units > 1:
        return (*PARTICLE, *layout.latent_dims[name]), values.squeeze(2)
    return layout.latent(name, values, *PARTICLE)


def note_weights(groups: Mapping[str, xr.Dataset], group: str, **notes: object) -> None:
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
        # Without values: Python then shows it once a line of code, not at every datum.
        warnings.warn(
            f"The {' and '.join(doubtful)} comes, for some data at least, from particles with "
            f"Pareto k above {MAX_PARETO_K}: it rests on few of them, and is not reliable. See "
            "the group 'importance'; pass a guide closer to the posterior, a ladder "
            "(Ladder), an evidence, or more particles.",
            UnreliablePosteriorWarning,
            # To the line that called to_arviz.
            stacklevel=4,
        )
