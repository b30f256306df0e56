"""ArviZ's groups of Pyro's own Markov chains."""

import warnings
from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from pyro.infer import MCMC
from torch import Tensor

from lvkam_pyro.diagnostics.datasets import SAMPLE, dataset
from lvkam_pyro.diagnostics.joint import JointModel, posterior_groups_of, prior_groups_of
from lvkam_pyro.diagnostics.layout import event_names
from lvkam_pyro.diagnostics.local import LocalModel, local_groups, log_joint, to_chains
from lvkam_pyro.diagnostics.recorded_nuts import STATISTICS
from lvkam_pyro.evidence.comparison import EvidenceComparison
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.guides.parameters import own_parameters
from lvkam_pyro.guides.seeding import seeded_rng
from lvkam_pyro.guides.validation import check_count

Samples = Mapping[str, Tensor]
"""Site name to draws `(C, D, *the site's shape)`."""


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
    check_count("num_particles", num_particles)
    samples, statistics = _samples(mcmc), _sample_stats(mcmc)
    model = mcmc.kernel.model
    if model is None:
        return {"posterior": _plain_group(samples), "sample_stats": statistics}
    args, kwargs = (args, {}) if args else (mcmc._args, mcmc._kwargs)
    some = next(iter(samples.values()))
    with torch.no_grad(), own_parameters(model), seeded_rng(seed, some):
        local = LocalModel.find(model, args, kwargs)
        if local is not None and set(local.layout.latents) == set(samples):
            chains = to_chains(samples, local.layout)
            groups = local_groups(local, chains, evidence=evidence, num_particles=num_particles)
            lp: xr.DataArray | None = log_joint(groups, local.layout)
        else:
            groups, lp = _joint_groups(JointModel.of(model, *args, **kwargs), samples)
    groups["sample_stats"] = statistics if lp is None else statistics.assign(lp=lp)
    return groups


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


def _plain_group(samples: Samples) -> xr.Dataset:
    return dataset(
        {
            name: ((*SAMPLE, *event_names(name, values.ndim - 2)), values)
            for name, values in samples.items()
        }
    )


def _joint_groups(
    joint: JointModel, samples: Samples
) -> tuple[dict[str, xr.Dataset], xr.DataArray | None]:
    """The groups, and the log joint density of each draw where every latent was sampled."""
    shape = next(iter(samples.values())).shape[:2]
    prior = prior_groups_of(joint, shape)
    missing = sorted(set(joint.latents) - set(samples))
    if not missing:
        posterior, lp = posterior_groups_of(joint, samples)
        return {**posterior, **prior}, xr.DataArray(lp.cpu().numpy(), dims=SAMPLE)
    warnings.warn(
        f"There are no draws of {missing}, so there are no predictions and no log likelihood. A "
        "discrete site that was summed out can be drawn by pyro.infer.infer_discrete.",
        stacklevel=5,
    )
    return {"posterior": joint.group(samples, list(samples)), **prior}, None
