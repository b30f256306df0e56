"""The structure of a Pyro program: its plates, its latent sites and their layout."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Self

import torch
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor
from torch.distributions import biject_to
from torch.distributions.constraints import (
    Constraint,
    MixtureSameFamilyConstraint,
    independent,
)
from torch.distributions.transforms import Transform

from lvkam_pyro.tracing.recorder import Site, SiteRecorder
from lvkam_pyro.tracing.sites import (
    check_scale,
    check_summable,
    is_discrete,
    is_weighted,
    plates,
    subsampling_scale,
)

DATA_SET = "_data_set"
"""The name of the plate of size 1 around a program whose data have one evidence together."""


class Unit(Enum):
    """A unit of evidence: a datum, where the data are independent, or the data set as a whole.

    Example:
        >>> Unit.DATUM.value, Unit.DATA_SET.value
        ('datum', 'data set')
    """

    DATUM = "datum"
    DATA_SET = "data set"


@dataclass(frozen=True)
class LatentSite:
    """The layout of one latent site.

    Attributes:
        name: The site's name.
        event_shape: The shape of one event.
        unconstrained_shape: The shape of one event after `biject_to(support).inv`; the event's
            own where torch has no such map.
        inner_dims: The dimensions (negative, ascending) of the plates around the site other than
            the data plate.
        inner_shape: The sizes of these plates.
        support: The support of one event.
        dtype: The precision of the values.
        masked: Whether a mask, or an inner subsample, changes its density.
        subsampled: Whether an inner subsample does.
        has_bijection: Whether torch maps the real space onto its support, so that chains can move.
    """

    name: str
    event_shape: torch.Size
    unconstrained_shape: torch.Size
    inner_dims: tuple[int, ...]
    inner_shape: torch.Size
    support: Constraint
    dtype: torch.dtype
    masked: bool
    subsampled: bool
    has_bijection: bool

    @property
    def num_coordinates(self) -> int:
        """The number of unconstrained coordinates that one unit has at this site."""
        return self.inner_shape.numel() * self.unconstrained_shape.numel()


@dataclass(frozen=True)
class ProgramStructure:
    """The data plate and the latent sites of a program, read off one run of it.

    The data plate is the outermost vectorised plate that all observed sites share (among several,
    the first of the size of the data). Where there is none, or a latent site lies outside of it,
    the data have one evidence together: the data plate is then one of size 1 around the program,
    and the program's own plates are inner plates.

    Attributes:
        unit: What has an evidence of its own.
        data_plate: The name of the data plate.
        data_dim: Its dimension, counted from the right (negative).
        num_plates: Pyro's `max_plate_nesting`; particles live at dimension `-(num_plates + 1)`.
        latents: The continuous latent sites in the order in which the program draws them.
        discrete: The discrete ones, over which every density is summed.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> with SiteRecorder() as run, pyro.plate("data", 5):
        ...     z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...     x = pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=torch.zeros(5, 2))
        >>> structure = ProgramStructure.of(run, num_data=5)
        >>> structure.data_plate, structure.num_plates, structure.latents[0].event_shape
        ('data', 1, torch.Size([2]))
    """

    unit: Unit
    data_plate: str
    data_dim: int
    num_plates: int
    latents: tuple[LatentSite, ...]
    discrete: tuple[LatentSite, ...] = ()

    @classmethod
    def of(cls, run: SiteRecorder, num_data: int | None, *, jointly: bool = False) -> Self:
        """Read the structure off a run.

        Args:
            run: One run of the program, without particles.
            num_data: The number of rows of the data, to choose among several plates.
            jointly: Whether the data are to have one evidence together in any case.

        Raises:
            ValueError: If there is nothing observed, or a latent is scaled, or discrete with too
                many values to sum over.
        """
        _check_observed(run)
        plate = None if jointly else find_data_plate(run, num_data)
        frames = [frame for site in run.sites.values() for frame in plates(site)]
        nesting = max((-frame.dim for frame in frames), default=0)
        dim = plate.dim if plate else -(nesting + 1)
        for site in run.latents.values():
            check_scale(site, "latent site")
        discrete = {name: site for name, site in run.latents.items() if is_discrete(site)}
        for site in discrete.values():
            check_summable(site)
        continuous = [site for name, site in run.latents.items() if name not in discrete]
        return cls(
            unit=Unit.DATUM if plate else Unit.DATA_SET,
            data_plate=plate.name if plate else DATA_SET,
            data_dim=dim,
            num_plates=max(nesting, -dim),
            latents=tuple(_describe_latent(site, plate) for site in continuous),
            discrete=tuple(_describe_latent(site, plate) for site in discrete.values()),
        )

    @property
    def particle_dim(self) -> int:
        """The dimension at which particles are stacked, left of all plates."""
        return -(self.num_plates + 1)

    @property
    def sites(self) -> tuple[LatentSite, ...]:
        """All latents, the discrete ones last."""
        return *self.latents, *self.discrete

    @property
    def discrete_names(self) -> frozenset[str]:
        """The names of the discrete latents."""
        return frozenset(site.name for site in self.discrete)

    @property
    def num_coordinates(self) -> int:
        """The number of unconstrained coordinates of one unit."""
        return sum(site.num_coordinates for site in self.latents)

    def frame_of(self, site: Site) -> CondIndepStackFrame | None:
        """The data plate's frame at a site, None outside of it."""
        frames = (f for f in site["cond_indep_stack"] if f.name == self.data_plate)
        return next(frames, None)

    def data_scale(self, site: Site) -> float:
        """The data plate's full size divided by its size, at a site (1 outside of the plate)."""
        frame = self.frame_of(site)
        return 1.0 if frame is None else subsampling_scale(frame)

    def to_particles(self, value: Tensor, site: LatentSite) -> Tensor:
        """From Pyro's layout `(S, *plates, *event)` to `(S, U, *inner plates, *event)`."""
        if self.num_plates == 1:
            return value
        moved = value.movedim(1 + self.num_plates + self.data_dim, 1)
        event = value.shape[1 + self.num_plates :]
        return moved.reshape(*moved.shape[:2], *site.inner_shape, *event)

    def to_pyro(self, value: Tensor, site: LatentSite) -> Tensor:
        """From `(S, U, *inner plates, *event)` to Pyro's layout `(S, *plates, *event)`."""
        if self.num_plates == 1:
            return value
        sizes = dict(zip(site.inner_dims, site.inner_shape, strict=True))
        others = [sizes.get(d, 1) for d in range(-self.num_plates, 0) if d != self.data_dim]
        event = value.shape[2 + len(site.inner_shape) :]
        spread = value.reshape(*value.shape[:2], *others, *event)
        return spread.movedim(1, 1 + self.num_plates + self.data_dim)

    def num_outer_axes(self, site: LatentSite) -> int:
        """The number of plates' axes left of all plates that a latent is in."""
        own = site.inner_dims if self.unit is Unit.DATA_SET else (*site.inner_dims, self.data_dim)
        return self.num_plates + min(own, default=0)

    def spread(self, value: Tensor, site: LatentSite) -> Tensor:
        """A value in Pyro's layout with all its axes: `(S, *plates, *event)`, S = 1 without."""
        missing = 1 + self.num_plates + len(site.event_shape) - value.ndim
        return value.reshape((1,) * missing + value.shape) if missing > 0 else value

    def arrange(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draws of all latent sites in the sites' own shapes, by unit.

        Args:
            samples: Site name to draws `(D, *shape)`.

        Returns:
            Site name to draws `(D, U, *inner plates, *event)`.
        """
        return {
            site.name: self.to_particles(self._pad(samples[site.name], site), site)
            for site in self.latents
        }

    def _pad(self, value: Tensor, site: LatentSite) -> Tensor:
        """A value `(D, *shape)` with an axis for every plate of the program."""
        missing = 1 + self.num_plates + len(site.event_shape) - value.ndim
        return value.reshape(len(value), *(1,) * missing, *value.shape[1:])

    def all_to_pyro(self, latents: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The values of all continuous latents, and of given discrete ones, in Pyro's layout."""
        given = [site for site in self.discrete if site.name in latents]
        return {s.name: self.to_pyro(latents[s.name], s) for s in (*self.latents, *given)}

    def join(self, latents: Mapping[str, Tensor], num_units: int) -> Tensor:
        """Positions `(S, U, Q)` from the latents of particles, `(S, U or 1, ..., *event)` each."""
        parts = [latents[site.name] for site in self.latents]
        flat = torch.cat([part.reshape(*part.shape[:2], -1) for part in parts], -1)
        return flat.expand(-1, num_units, -1)

    def split(self, position: Tensor) -> dict[str, Tensor]:
        """The sites' values `(*batch, *inner plates, *event)` from positions `(*batch, Q)`."""
        shapes = [(*site.inner_shape, *site.event_shape) for site in self.latents]
        parts = position.split([torch.Size(shape).numel() for shape in shapes], -1)
        return {
            site.name: part.reshape(*part.shape[:-1], *shape)
            for site, shape, part in zip(self.latents, shapes, parts, strict=True)
        }


def find_data_plate(run: SiteRecorder, num_data: int | None) -> CondIndepStackFrame | None:
    """The outermost plate that all sites share, by preference one of the size of the data.

    Returns:
        Its frame; None if the observed sites share no plate or a latent lies outside of it.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> groups, data = pyro.plate("groups", 2, dim=-2), pyro.plate("data", 5, dim=-1)
        >>> with SiteRecorder() as run, groups, data:
        ...     x = pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(2, 5))
        >>> find_data_plate(run, 5).name
        'data'
    """
    stacks = [plates(site) for site in run.observations.values()]
    common = [frame for frame in stacks[0] if all(frame in stack for stack in stacks[1:])]
    common.sort(key=lambda frame: num_data not in (frame.size, frame.full_size))
    around = [plates(site) for site in run.latents.values()]
    return next((frame for frame in common if all(frame in stack for stack in around)), None)


def bijection(site: Site) -> Transform:
    """The map from the whole real space onto a site's support.

    Raises:
        NotImplementedError: If torch has none.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> with SiteRecorder() as run:
        ...     z = pyro.sample("z", dist.LogNormal(0.0, 1.0))
        >>> bijection(run.sites["z"])(torch.tensor(0.0))
        tensor(1.)
    """
    return biject_to(_of_components(site["fn"].support))


def _check_observed(run: SiteRecorder) -> None:
    if not run.observations:
        raise ValueError(
            "The model observes nothing, so it has no evidence. Pass the data to the likelihood's "
            "site, e.g. pyro.sample('x', likelihood, obs=x)."
        )


def _describe_latent(site: Site, plate: CondIndepStackFrame | None) -> LatentSite:
    """The layout of a latent site."""
    fn = site["fn"]
    inner = sorted((frame for frame in plates(site) if frame != plate), key=lambda f: f.dim)
    shape = _unconstrained_shape(site)
    return LatentSite(
        name=site["name"],
        event_shape=fn.event_shape,
        unconstrained_shape=fn.event_shape if shape is None else shape,
        inner_dims=tuple(frame.dim for frame in inner),
        inner_shape=torch.Size(frame.size for frame in inner),
        support=fn.support,
        dtype=site["value"].dtype,
        masked=is_weighted(site, subsampling_scale(plate) if plate else 1.0),
        subsampled=any(subsampling_scale(frame) != 1 for frame in inner),
        has_bijection=shape is not None,
    )


def _of_components(support: Constraint) -> Constraint:
    """The support of a mixture's components: onto that torch can map, not onto the mixture's."""
    if isinstance(support, MixtureSameFamilyConstraint):
        return _of_components(support.base_constraint)
    if isinstance(support, independent):
        base = _of_components(support.base_constraint)
        return independent(base, support.reinterpreted_batch_ndims)
    return support


def _unconstrained_shape(site: Site) -> torch.Size | None:
    """The shape of an event of a site in the whole real space, if there is a map."""
    fn = site["fn"]
    try:
        shape = bijection(site).inverse_shape(fn.shape())
    except NotImplementedError:
        return None
    return torch.Size(shape[len(fn.batch_shape) :])
