"""Posterior draws of any Pyro program as a source: in a dictionary, or of Pyro's Markov chains."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from pyro.infer import MCMC
from pyro.infer.autoguide import AutoGuide
from pyro.infer.autoguide.initialization import InitMessenger
from torch import Tensor

from lvkam_pyro.arviz.datasets import SAMPLE, Groups, dataset, plain_group
from lvkam_pyro.arviz.draws import PosteriorDraws
from lvkam_pyro.arviz.groups import groups_by_moments, log_joint, prior_groups
from lvkam_pyro.arviz.layout import Layout
from lvkam_pyro.arviz.marginal import estimates_of
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.options import check_count
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.prior_guide import LibraryGuide
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.sites import DiscreteLatentError, is_delta
from lvkam_pyro.tracing.structure import Unit

Samples = Mapping[str, Tensor]
"""Site name to draws `(C, D, *the site's shape)`."""


def dict_groups(
    samples: Samples,
    *args: object,
    model: Program | None = None,
    num_chains: int | None = None,
    evidence: Evidence | EvidenceComparison | None = None,
    num_particles: int = 1000,
    seed: int = 0,
    **kwargs: Any,
) -> Groups:
    """Equally weighted draws in a dictionary, as Pyro's samplers give them.

    Args:
        samples: Site name to draws `(C, D, *the site's shape)`; with `num_chains`
            `(C * D, *the site's shape)`, chain after chain.
        *args: The model's arguments.
        model: The model, for predictions, log densities and the names of its plates; None: there
            is a posterior alone.
        num_chains: C, where the draws of all chains are in one axis.
        evidence: Estimates of the log evidence.
        num_particles: Where latents belong to a datum each: particles a chain for the evidence, if
            there is no estimate.
        seed: Of the predictions.
        **kwargs: The model's keyword arguments.

    Returns:
        The groups that `to_arviz` lists.

    Raises:
        TypeError: If the draws are no tensors.
        ValueError: If their counts differ or are no multiple of the chains, or a site is not the
            model's.

    Example:
        >>> groups = dict_groups({"mean": torch.zeros(20), "z": torch.zeros(20, 3)}, num_chains=2)
        >>> groups["posterior"]["z"].dims, groups["posterior"].sizes["draw"]
        (('chain', 'draw', 'z_dim_0'), 10)
    """
    grouped = _by_chain(samples, num_chains)
    if model is None:
        return {"posterior": plain_group(grouped)}
    given = model, grouped, args, kwargs
    return _sample_groups(*given, evidence=evidence, num_particles=num_particles, seed=seed)


def mcmc_groups(
    mcmc: MCMC,
    *args: object,
    evidence: Evidence | EvidenceComparison | None = None,
    num_particles: int = 1000,
    seed: int = 0,
    **kwargs: Any,
) -> Groups:
    """The chains of a `pyro.infer.MCMC` that was run, and what its model says of them.

    Args:
        mcmc: The sampler after `run`.
        *args: The model's arguments; none: those of `run`.
        evidence: Estimates of the log evidence.
        num_particles: Where latents belong to a datum each: particles a chain for the evidence, if
            there is no estimate.
        seed: Of the predictions.
        **kwargs: The model's keyword arguments.

    Returns:
        The groups that `to_arviz` lists; of a sampler with `potential_fn`, or of a model with
        discrete latents, only `posterior` and `sample_stats`.

    Raises:
        ValueError: If the sampler was not run, or the model's plates cannot be named.
    """
    if mcmc._samples is None:
        raise ValueError("Expected an MCMC that was run, got one without samples. Call its run().")
    samples, statistics = mcmc.get_samples(group_by_chain=True), _sample_stats(mcmc)
    model = mcmc.kernel.model
    groups: Groups = {"posterior": plain_group(samples)}
    if model is not None:
        if not args and not kwargs:
            args, kwargs = mcmc._args, mcmc._kwargs
        given = model, samples, args, kwargs
        groups = _sample_groups(*given, evidence=evidence, num_particles=num_particles, seed=seed)
    groups["posterior"].attrs["sampler"] = type(mcmc.kernel).__name__
    known = groups.get("sample_stats", xr.Dataset())
    return {**groups, "sample_stats": statistics.assign(known.data_vars)}


def _sample_groups(
    model: Program,
    samples: Samples,
    args: Sequence[object],
    kwargs: Mapping[str, Any],
    *,
    evidence: Evidence | EvidenceComparison | None,
    num_particles: int,
    seed: int,
) -> Groups:
    """The groups of draws and their program; of one that cannot be bound the posterior alone."""
    check_count("num_particles", num_particles)
    try:
        program = bind(model, *args, **kwargs)
    except DiscreteLatentError as error:
        _warn(f"There is a posterior alone, without predictions and log likelihood: {error}")
        return {"posterior": plain_group(samples)}
    estimates = estimates_of(evidence, program)
    missing = _missing(samples, program)
    num_chains, num_draws = next(iter(samples.values())).shape[:2]
    with program.session(seed=seed):
        if missing:
            _warn(
                f"There are no draws of {missing}, so there are no predictions and no log "
                "likelihood. Draw all latents of the model."
            )
            prior = prior_groups(program, Layout.of(program), (num_chains, num_draws))
            return {"posterior": plain_group(samples), **prior}
        flat = {name: values.flatten(0, 1) for name, values in samples.items()}
        latents = program.structure.arrange(flat)
        draws = PosteriorDraws.of_draws(latents, num_chains, estimates=estimates)
        groups = groups_by_moments(program, draws, num_particles)
    if "sample_stats" not in groups:
        groups["sample_stats"] = dataset({}).assign(lp=log_joint(groups))
    return groups


def _warn(message: str) -> None:
    # To the line that called to_arviz.
    warnings.warn(message, stacklevel=6)


def _missing(samples: Samples, program: BoundProgram) -> list[str]:
    """The program's latent sites of which there are no draws."""
    known = {site.name for site in program.structure.latents}
    if set(samples) - known:
        raise ValueError(
            f"Expected draws of the model's latent sites {sorted(known)}, got "
            f"{sorted(set(samples) - known)}."
        )
    return sorted(known - set(samples))


def _sample_stats(mcmc: MCMC) -> xr.Dataset:
    """The draws that diverged, and the chains' shares of accepted proposals."""
    recorded = mcmc._diagnostics
    diverging = torch.zeros(mcmc.num_chains, mcmc.num_samples, dtype=torch.bool)
    for chain, found in enumerate(recorded):
        diverging[chain, list(found.get("divergences", ()))] = True
    rates = [float(found["acceptance rate"]) for found in recorded if "acceptance rate" in found]
    attrs = {"acceptance_rate": np.asarray(rates)} if rates else {}
    return dataset({"diverging": (SAMPLE, diverging)}, attrs=attrs)


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


def own_model(guide: AutoGuide) -> Program:
    """The user's model of an automatic guide.

    It is out of the wrapper in which guides put in its latents' first values.

    Args:
        guide: The guide.
    """
    model: Program = guide.model
    wrapper = getattr(model, "func", None)
    handler, *wrapped = getattr(wrapper, "args", (None,))
    return wrapped[0] if isinstance(handler, InitMessenger) else model


def has_weights(program: BoundProgram, guide: Program) -> bool:
    """Whether a guide has a density for each unit: no latent is one point, none drawn jointly.

    Args:
        program: The program, in its session.
        guide: The guide.
    """
    if isinstance(guide, LibraryGuide):
        return True
    one, other = (program.record_guide_alone(guide).latents for _ in range(2))
    joint = any(program.structure.frame_of(site) is None for site in one.values())
    points = (name for name, site in one.items() if is_delta(site))
    fixed = any(torch.equal(one[name]["value"], other[name]["value"]) for name in points)
    return not fixed and not (joint and program.unit is Unit.DATUM)


def draw_alone(program: BoundProgram, guide: Program, num_draws: int) -> dict[str, Tensor]:
    """Draws of a guide without weights, one by one.

    Args:
        program: The program, in its session.
        guide: The guide.
        num_draws: D.

    Returns:
        Site name to draws `(D, U, *inner plates, *event)`.

    Raises:
        ValueError: If the guide does not draw the model's latents.
    """
    runs = [program.record_guide_alone(guide) for _ in range(num_draws)]
    missing = {site.name for site in program.structure.latents} - runs[0].latents.keys()
    if missing:
        raise ValueError(
            f"The guide does not draw the model's latent sites {sorted(missing)}; it draws "
            f"{sorted(runs[0].latents)}. Add a pyro.sample statement of the same name for each."
        )
    samples = {
        site.name: torch.stack([run.sites[site.name]["value"] for run in runs])
        for site in program.structure.latents
    }
    return program.structure.arrange(samples)
