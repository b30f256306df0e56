"""Checks of a guide: it draws the model's latents, by a density that covers their support."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint, independent, real

from lvkam_pyro.tracing.recorder import Site, SiteRecorder
from lvkam_pyro.tracing.sites import check_scale, density_mask, has_atoms, is_delta
from lvkam_pyro.tracing.structure import LatentSite, ProgramStructure, Unit


def check_sites(proposal: SiteRecorder, structure: ProgramStructure, num_particles: int) -> None:
    """A guide drew the model's latents, each in its shape.

    Args:
        proposal: A run of the guide with stacked particles.
        structure: The model's structure.
        num_particles: S.

    Raises:
        ValueError: If the guide's sites are not the model's, or have another shape.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> with SiteRecorder() as run, pyro.plate("data", 5):
        ...     z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...     x = pyro.sample("x", dist.Normal(z, 1.0), obs=torch.zeros(5))
        >>> check_sites(SiteRecorder(), ProgramStructure.of(run, 5), 8)
        Traceback (most recent call last):
        ...
        ValueError: The guide does not draw the model's latent sites ['z']; it draws []. ...
    """
    check_names(proposal, structure)
    for site in structure.latents:
        _check_shape(proposal.sites[site.name], site, structure, num_particles)


def check_names(proposal: SiteRecorder, structure: ProgramStructure) -> None:
    """A guide drew the model's latents and, for each unit, what it calls auxiliary.

    Raises:
        ValueError: If it drew others.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> with SiteRecorder() as run, pyro.plate("data", 5):
        ...     z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...     x = pyro.sample("x", dist.Normal(z, 1.0), obs=torch.zeros(5))
        >>> with SiteRecorder() as guide, pyro.plate("data", 5):
        ...     z = pyro.sample("z", dist.Normal(0.0, 1.0))
        >>> check_names(guide, ProgramStructure.of(run, 5))
    """
    expected = {site.name for site in structure.latents}
    drawn = set(proposal.latents)
    if expected - drawn:
        raise ValueError(
            f"The guide does not draw the model's latent sites {sorted(expected - drawn)}; it "
            f"draws {sorted(drawn)}. Add a pyro.sample statement of the same name for each."
        )
    for name in drawn - expected - structure.discrete_names:
        if not proposal.sites[name]["infer"].get("is_auxiliary"):
            raise ValueError(
                f"The guide draws the site '{name}', which is no latent site of the model "
                f"({sorted(expected)}). Remove it, or mark it infer={{'is_auxiliary': True}}."
            )
        _check_auxiliary(proposal.sites[name], structure)


def check_same_sites(run: SiteRecorder, structure: ProgramStructure) -> None:
    """A model drew the latents that it drew when it was bound.

    Raises:
        ValueError: If it drew others.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> with SiteRecorder() as run, pyro.plate("data", 5):
        ...     z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...     x = pyro.sample("x", dist.Normal(z, 1.0), obs=torch.zeros(5))
        >>> check_same_sites(run, ProgramStructure.of(run, 5))
    """
    needed = set(run.latents)
    expected = {*(site.name for site in structure.latents), *structure.discrete_names}
    if needed != expected:
        raise ValueError(
            f"The model drew the latent sites {sorted(needed)}, but {sorted(expected)} when it was "
            "first run. Only a model with the same sites in every run has particles."
        )


def check_supports(sites: Mapping[str, Site], structure: ProgramStructure) -> None:
    """A guide proposes from all of each latent's support.

    Args:
        sites: The sites of a run of the guide.
        structure: The model's structure.

    Raises:
        ValueError: If a site's support is narrower than that of the model's site.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> with SiteRecorder() as run, pyro.plate("data", 5):
        ...     z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...     x = pyro.sample("x", dist.Normal(z, 1.0), obs=torch.zeros(5))
        >>> with SiteRecorder() as guide, pyro.plate("data", 5):
        ...     z = pyro.sample("z", dist.HalfNormal(1.0))
        >>> check_supports(guide.sites, ProgramStructure.of(run, 5))
        Traceback (most recent call last):
        ...
        ValueError: The guide's site 'z' draws from [0, inf], but the model's from [-inf, inf]: ...
    """
    for site in structure.latents:
        drawn = sites[site.name]
        if is_delta(drawn):
            continue  # Its density is that of an auxiliary site, which was mapped onto the support.
        own, needed = _bounds(drawn["fn"].support), _bounds(site.support)
        if own and needed and (_any(own[0] > needed[0]) or _any(own[1] < needed[1])):
            raise ValueError(
                f"The guide's site '{site.name}' draws from {_text(own)}, but the model's from "
                f"{_text(needed)}: what it never draws is missing in every weight. Propose from a "
                "distribution with the model's support."
            )


def check_weights(proposal: SiteRecorder, masks: Mapping[str, Tensor]) -> None:
    """A guide's densities are those of its draws, and count where the model's do.

    Args:
        proposal: A run of the guide.
        masks: Site name to where the model's density counts; it does everywhere at other sites.

    Raises:
        ValueError: If a site of the guide is scaled, masked where the model's is not or not masked
            where the model's is, or a mixture of points.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> with SiteRecorder() as guide, pyro.plate("data", 5), pyro.poutine.mask(mask=False):
        ...     z = pyro.sample("z", dist.Normal(0.0, 1.0))
        >>> check_weights(guide, {})
        Traceback (most recent call last):
        ...
        ValueError: The guide's site 'z' counts at 0 of 5 values, the model's at 5: ...
    """
    for name, site in proposal.latents.items():
        check_scale(site, "guide's site")
        if has_atoms(site):
            raise ValueError(
                f"The guide's site '{name}' is a mixture with a Delta: a point has no density, so "
                "its particles have no weights. Use a mixture of densities."
            )
        own = density_mask(site)
        needed = masks.get(name, torch.ones_like(own))
        if not torch.equal(own, needed):
            raise ValueError(
                f"The guide's site '{name}' counts at {int(own.sum())} of {own.numel()} values, "
                f"the model's at {int(needed.sum())}: their masks differ, and so the weights of "
                "the particles are wrong. Put the same mask on both, or on none."
            )


def check_spread(
    fixed: Mapping[str, Tensor], sites: Mapping[str, Site], places: Tensor | None = None
) -> None:
    """A guide's draws are draws: a Delta without an auxiliary site behind it has no density.

    Args:
        fixed: Site name to the value that a Delta held in one run.
        sites: The sites of another run, with the drawn values.
        places: The data of that run among those of the first; None: all.

    Raises:
        ValueError: If a Delta holds the same value in both.

    Example:
        >>> import pyro.distributions as dist
        >>> value = torch.zeros(3)
        >>> check_spread({"z": value}, {"z": {"value": value, "fn": dist.Delta(value)}})
        Traceback (most recent call last):
        ...
        ValueError: The guide's site 'z' is a Delta that always holds one value: ...
    """
    for name, value in fixed.items():
        again = sites[name]["value"]
        kept = value if places is None or not value.ndim else value[places]
        if again.shape[again.ndim - kept.ndim :] == kept.shape and bool((again == kept).all()):
            raise ValueError(
                f"The guide's site '{name}' is a Delta that always holds one value: a point has no "
                "density, so its particles have no weights. Use a guide with a density, such as "
                "AutoNormal or AmortizedGuide."
            )


def _bounds(support: Constraint) -> tuple[Tensor, Tensor] | None:
    """The ends of an interval of the real line; None of another set."""
    while isinstance(support, independent):
        support = support.base_constraint
    if support is real:
        return torch.tensor(-math.inf), torch.tensor(math.inf)
    low, high = (getattr(support, name, None) for name in ("lower_bound", "upper_bound"))
    if low is None and high is None:
        return None
    return (
        torch.as_tensor(-math.inf if low is None else low),
        torch.as_tensor(math.inf if high is None else high),
    )


def _any(condition: Tensor) -> bool:
    return bool(condition.any())


def _text(bounds: tuple[Tensor, Tensor]) -> str:
    low, high = bounds
    return f"[{float(low.amin()):g}, {float(high.amax()):g}]"


def _check_auxiliary(drawn: Site, structure: ProgramStructure) -> None:
    """A guide's further site has a density for each datum, not one for all of them together."""
    if structure.unit is Unit.DATUM and structure.frame_of(drawn) is None:
        raise ValueError(
            f"The guide's site '{drawn['name']}' is outside the data plate: its density is of all "
            "data jointly, so there are no weights per datum. Use AutoNormal, AmortizedGuide, or a "
            "guide that draws inside the data plate."
        )


def _check_shape(
    drawn: Site, site: LatentSite, structure: ProgramStructure, num_particles: int
) -> None:
    """A draw has a particle axis, the axes of the plates, and the model's event shape."""
    shape = drawn["value"].shape
    event = shape[1 + structure.num_plates :]
    if len(shape) <= structure.num_plates or shape[0] != num_particles or event != site.event_shape:
        raise ValueError(
            f"The guide's draw of '{site.name}' has shape {tuple(shape)}, but the model's site "
            f"needs ({num_particles} particles, {structure.num_plates} plate axes, *event "
            f"{tuple(site.event_shape)}). Use the model's plate and .to_event(...) in the guide."
        )
