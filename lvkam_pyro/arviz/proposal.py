"""Groups that show how a guide's particles were weighted."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lvkam_pyro.arviz.datasets import Named, dataset
from lvkam_pyro.arviz.layout import AxisNames
from lvkam_pyro.statistics.weights import (
    effective_sample_size,
    largest_weight,
    pareto_k,
    smooth_weights,
)
from lvkam_pyro.tracing.particles import Particles

PARTICLE = ("chain", "particle")
"""Not draws: these carry weights, which ArviZ's statistics would ignore."""


def proposal_groups(chains: Sequence[Particles], layout: AxisNames) -> dict[str, xr.Dataset]:
    """The particles of all chains with their weights, and what the weights say of the guide.

    Args:
        chains: Independent particles, one set a chain.
        layout: What the axes are called.

    Returns:
        `proposal` (latents without a data axis where all data share them, `log_weights`, and
        `log_weights_psis`, Pareto smoothed and normalised over all chains) and `importance`
        (`log_evidence`, `ess`, `pareto_k`, `largest_weight` a datum, over the particles of all
        chains together).
    """
    log_weights = torch.stack([chain.log_weights for chain in chains])
    pooled = log_weights.flatten(0, 1)
    smoothed, _ = smooth_weights(pooled)
    dims = (*PARTICLE, layout.data_dim)
    weights: dict[str, Named] = {
        "log_weights": (dims, log_weights),
        "log_weights_psis": (dims, smoothed.log_softmax(0).view_as(log_weights)),
    }
    latents = {name: _latent(name, chains, layout) for name in layout.latents}
    return {
        "proposal": dataset(latents | weights),
        "importance": importance_group(pooled, layout.data_dim),
    }


def importance_group(log_weights: Tensor, data_dim: str | None) -> xr.Dataset:
    """What weights say of the guide.

    Args:
        log_weights: `(S, N)`.
        data_dim: What the axis of data is called; None: there is one weight for all data together,
            `(S, 1)`.

    Returns:
        `log_evidence`, `ess`, `pareto_k`, `largest_weight`.

    Example:
        >>> group = importance_group(torch.zeros(100, 1), None)
        >>> round(float(group["ess"]), 3), group.attrs["num_particles"]
        (100.0, 100)
    """
    statistics = {
        "log_evidence": log_weights.logsumexp(0) - np.log(len(log_weights)),
        "ess": effective_sample_size(log_weights),
        "pareto_k": pareto_k(log_weights),
        "largest_weight": largest_weight(log_weights),
    }
    variables: dict[str, Named] = {
        name: ((), values[0]) if data_dim is None else ((data_dim,), values)
        for name, values in statistics.items()
    }
    return dataset(variables, attrs={"num_particles": len(log_weights)})


def _latent(name: str, chains: Sequence[Particles], layout: AxisNames) -> Named:
    values = torch.stack([chain.latents[name] for chain in chains])
    dims = layout.latents[name].dims
    if values.shape[2] == 1 and chains[0].num_data > 1:
        return (*PARTICLE, *dims[1:]), values.squeeze(2)
    return (*PARTICLE, *dims), values
