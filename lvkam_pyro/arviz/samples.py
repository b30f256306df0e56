"""ArviZ's groups of posterior draws of any Pyro model, wherever the draws are from."""

import warnings
from collections.abc import Mapping, Sequence

import torch
import xarray as xr
from torch import Tensor

from lvkam_pyro.arviz.datasets import SAMPLE, dataset
from lvkam_pyro.arviz.joint import JointModel, posterior_groups_of, prior_groups_of
from lvkam_pyro.arviz.layout import event_names
from lvkam_pyro.arviz.local import LocalModel, local_groups, log_joint, to_chains
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.tracing.options import check_count
from lvkam_pyro.tracing.parameters import own_parameters
from lvkam_pyro.tracing.session import seeded_rng
from lvkam_pyro.tracing.structure import Model

Samples = Mapping[str, Tensor]
"""Site name to draws `(C, D, *the site's shape)`."""


def dict_groups(
    samples: Samples,
    *args: object,
    model: Model | None = None,
    num_chains: int | None = None,
    evidence: Evidence | EvidenceComparison | None = None,
    num_particles: int = 1000,
    seed: int = 0,
) -> dict[str, xr.Dataset]:
    """Equally weighted draws in a dictionary, as Pyro's samplers give them.

    Args:
        samples: Site name to draws `(C, D, *the site's shape)`; with `num_chains`
            `(C * D, *the site's shape)`, chain after chain.
        *args: The model's arguments.
        model: The model, for predictions, log densities and the names of its plates; None: there
            is a posterior alone.
        num_chains: C, where the draws of all chains are in one axis.
        evidence: Where latents belong to a datum each: estimates of the log evidence.
        num_particles: The same: particles a chain for the evidence, if there is no estimate.
        seed: Of the predictions.

    Returns:
        The groups that `to_arviz` lists.

    Raises:
        TypeError: If the draws are no tensors.
        ValueError: If their numbers differ or are no multiple of the chains, or a site is not the
            model's.

    Example:
        >>> groups = dict_groups({"mean": torch.zeros(20), "z": torch.zeros(20, 3)}, num_chains=2)
        >>> groups["posterior"]["z"].dims, groups["posterior"].sizes["draw"]
        (('chain', 'draw', 'z_dim_0'), 10)
    """
    grouped = _by_chain(samples, num_chains)
    if model is None:
        return {"posterior": plain_group(grouped)}
    options = {"num_particles": num_particles, "seed": seed}
    return sample_groups(model, grouped, args, {}, evidence=evidence, **options)


def sample_groups(
    model: Model,
    samples: Samples,
    args: Sequence[object],
    kwargs: Mapping[str, object],
    *,
    evidence: Evidence | EvidenceComparison | None = None,
    num_particles: int = 1000,
    seed: int = 0,
) -> dict[str, xr.Dataset]:
    """The groups of draws and their model, with the log joint density among the statistics.

    Args:
        model: The model.
        samples: Site name to draws `(C, D, *the site's shape)`.
        args: The model's arguments.
        kwargs: Those by keyword.
        evidence: Where latents belong to a datum each: estimates of the log evidence.
        num_particles: The same: particles a chain for the evidence, if there is no estimate.
        seed: Of the predictions.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is below 1, or a site is not the model's, or the evidence is of
            other data, or a plate cannot be named.
    """
    check_count("num_particles", num_particles)
    some = next(iter(samples.values()))
    with torch.no_grad(), own_parameters(model), seeded_rng(seed, some):
        local = LocalModel.find(model, args, kwargs)
        if local is None or set(local.layout.latents) != set(samples):
            return _joint_groups(JointModel.of(model, *args, **kwargs), samples)
        chains = to_chains(samples, local.layout)
        groups = local_groups(local, chains, evidence=evidence, num_particles=num_particles)
    groups["sample_stats"] = dataset({}).assign(lp=log_joint(groups, local.layout))
    return groups


def plain_group(samples: Samples) -> xr.Dataset:
    """Draws of a model that is not at hand.

    Args:
        samples: Site name to draws `(C, D, *the site's shape)`.
    """
    return dataset(
        {
            name: ((*SAMPLE, *event_names(name, values.ndim - 2)), values)
            for name, values in samples.items()
        }
    )


def _joint_groups(joint: JointModel, samples: Samples) -> dict[str, xr.Dataset]:
    other = sorted(set(samples) - set(joint.latents))
    if other:
        raise ValueError(
            f"Expected draws of the model's latent sites {sorted(joint.latents)}, got {other}."
        )
    prior = prior_groups_of(joint, next(iter(samples.values())).shape[:2])
    missing = sorted(set(joint.latents) - set(samples))
    if not missing:
        posterior, lp = posterior_groups_of(joint, samples)
        return {**posterior, **prior, "sample_stats": dataset({"lp": (SAMPLE, lp)})}
    warnings.warn(
        f"There are no draws of {missing}, so there are no predictions and no log likelihood. A "
        "discrete site that was summed out can be drawn by pyro.infer.infer_discrete.",
        # To the line that called to_arviz.
        stacklevel=6,
    )
    return {"posterior": joint.group(samples, list(samples)), **prior}


def _by_chain(samples: Samples, num_chains: int | None) -> Samples:
    """The draws with an axis of chains, which all sites share."""
    for name, values in samples.items():
        if not isinstance(values, Tensor):
            raise TypeError(
                f"Expected the draws of '{name}' as a torch.Tensor, got {type(values).__name__}."
            )
    if num_chains is not None:
        check_count("num_chains", num_chains)
        samples = {name: _split(name, values, num_chains) for name, values in samples.items()}
    shapes = {tuple(values.shape[:2]) for values in samples.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise ValueError(
            f"Expected draws (chains, draws, ...) of every site, as many of each, got {shapes}. "
            "Pass num_chains where there is one axis for the draws of all chains."
        )
    return samples


def _split(name: str, values: Tensor, num_chains: int) -> Tensor:
    if values.ndim == 0 or len(values) % num_chains:
        raise ValueError(
            f"Expected draws of '{name}' for {num_chains} chains of one length, got shape "
            f"{tuple(values.shape)}. Pass another num_chains."
        )
    return values.unflatten(0, (num_chains, -1))
