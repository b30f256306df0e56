"""ArviZ's groups of Pyro's own Markov chains."""

import numpy as np
import torch
import xarray as xr
from pyro.infer import MCMC

from lvkam_pyro.arviz.datasets import SAMPLE, dataset
from lvkam_pyro.arviz.recorded_nuts import STATISTICS
from lvkam_pyro.arviz.samples import Samples, plain_group, sample_groups
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.evidence.evidence import Evidence


def mcmc_groups(
    mcmc: MCMC,
    *args: object,
    evidence: Evidence | EvidenceComparison | None = None,
    num_particles: int = 1000,
    seed: int = 0,
) -> dict[str, xr.Dataset]:
    """The chains of a `pyro.infer.MCMC` that was run, and what its model says of them.

    Args:
        mcmc: The sampler after `run`.
        *args: The model's arguments; none: those of `run`.
        evidence: Where latents belong to a datum each: estimates of the log evidence.
        num_particles: The same: particles a chain for the evidence, if there is no estimate.
        seed: Of the predictions.

    Returns:
        The groups that `to_arviz` lists; of a sampler with `potential_fn` only `posterior` and
        `sample_stats`.

    Raises:
        ValueError: If the sampler was not run, or the model's plates cannot be named.
    """
    samples, statistics = _samples(mcmc), _sample_stats(mcmc)
    model = mcmc.kernel.model
    if model is None:
        groups = {"posterior": plain_group(samples)}
    else:
        args, kwargs = (args, {}) if args else (mcmc._args, mcmc._kwargs)
        options = {"num_particles": num_particles, "seed": seed}
        groups = sample_groups(model, samples, args, kwargs, evidence=evidence, **options)
    groups["posterior"].attrs["sampler"] = type(mcmc.kernel).__name__
    known = groups.get("sample_stats", xr.Dataset())
    return {**groups, "sample_stats": statistics.assign(known.data_vars)}


def _samples(mcmc: MCMC) -> Samples:
    if mcmc._samples is None:
        raise ValueError("Expected an MCMC that was run, got one without samples. Call its run().")
    samples: Samples = mcmc.get_samples(group_by_chain=True)
    return samples


def _sample_stats(mcmc: MCMC) -> xr.Dataset:
    """Which draws diverged, the chains' shares of accepted proposals, and what was recorded."""
    recorded = mcmc._diagnostics
    diverging = torch.zeros(mcmc.num_chains, mcmc.num_samples, dtype=torch.bool)
    for chain, found in enumerate(recorded):
        diverging[chain, list(found.get("divergences", ()))] = True
    rates = [float(found["acceptance rate"]) for found in recorded if "acceptance rate" in found]
    attrs = {"acceptance_rate": np.asarray(rates)} if rates else {}
    kept = [found.get(STATISTICS, {}) for found in recorded]
    variables = {name: torch.stack([chain[name] for chain in kept]) for name in kept[0]}
    variables["diverging"] = diverging
    return dataset({name: (SAMPLE, values) for name, values in variables.items()}, attrs=attrs)
