"""The names of a program's axes: xarray's dimensions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
import xarray as xr
from pyro.distributions import Unit as FactorDistribution
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor

from lvkam_pyro.arviz.datasets import (
    RESERVED,
    Coordinate,
    Named,
    dataset,
    event_names,
    free_name,
)
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import Site, SiteRecorder
from lvkam_pyro.tracing.sites import plates
from lvkam_pyro.tracing.structure import LatentSite, ProgramStructure, Unit


@dataclass(frozen=True, kw_only=True)
class UnitLayout:
    """Names for the axes of arrays by unit: those of particles, ladders and evidence.

    Attributes:
        latent_dims: Site name to the names of the axes after that of the units.
        unit_dims: The name of the axis of the units; none where there is but the data set.
        observed_name: The name of all observations together.
        axes: All names of axes, which no variable can have.

    Example:
        >>> layout = UnitLayout.of_latents({"z": torch.zeros(4, 3, 2)})
        >>> layout.latent("z", torch.zeros(9, 3, 2), "draw")[0]
        ('draw', 'data', 'latent')
    """

    latent_dims: Mapping[str, tuple[str, ...]]
    unit_dims: tuple[str, ...] = ("data",)
    observed_name: str = "x"
    axes: frozenset[str] = frozenset({*RESERVED, "data"})

    @classmethod
    def of_latents(cls, latents: Mapping[str, Tensor]) -> Self:
        """Names for draws `(S, U, ...)` of a model that is not at hand."""
        sole = _sole_name("latent", latents)
        return cls(
            latent_dims={
                name: tuple(event_names(name, values.ndim - 2, sole=sole))
                for name, values in latents.items()
            }
        )

    @property
    def latent_name(self) -> str:
        """The name of all latents together."""
        return "_".join(self.latent_dims)

    def unit(self, values: Tensor, *lead: str) -> Named:
        """Names for `(*lead, U)`."""
        return (*lead, *self.unit_dims), self._by_unit(values, len(lead))

    def latent(self, name: str, values: Tensor, *lead: str) -> Named:
        """Names for a latent site's values `(*lead, U or 1, *inner plates, *event)`."""
        dims = (*lead, *self.unit_dims, *self.latent_dims[name])
        return dims, self._by_unit(values, len(lead))

    def _by_unit(self, values: Tensor, axis: int) -> Tensor:
        return values if self.unit_dims else values.squeeze(axis)

    def group(
        self,
        variables: Mapping[str, Named],
        *,
        coords: Mapping[str, Coordinate] | None = None,
        attrs: Mapping[str, object] | None = None,
    ) -> xr.Dataset:
        """A dataset in which no variable has the name of an axis; see `dataset`."""
        free = {free_name(name, self.axes): value for name, value in variables.items()}
        return dataset(free, coords=coords, attrs=attrs)


@dataclass(frozen=True)
class SiteAxes:
    """The axes of one site's value in a run of the program alone.

    Attributes:
        names: The name of each axis; None for one of size one that belongs to no plate.
        shape: Their sizes.
        num_batch: The number of batch axes.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> with pyro.plate("groups", 3, dim=-2), SiteRecorder() as run:
        ...     z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        >>> SiteAxes.of(run.sites["z"]).names
        ('groups', None, 'z_dim_0')
    """

    names: tuple[str | None, ...]
    shape: torch.Size
    num_batch: int

    @classmethod
    def of(cls, site: Site, *, sole: str = "") -> Self:
        """The axes of a sampled site; `sole` is as of `event_names`."""
        fn = site["fn"]
        frames = {frame.dim: frame.name for frame in plates(site)}
        batch = [frames.get(dim) for dim in range(-len(fn.batch_shape), 0)]
        events = event_names(site["name"], len(fn.event_shape), sole=sole)
        return cls((*batch, *events), fn.shape(), len(batch))

    @classmethod
    def of_computed(cls, site: Site) -> Self:
        """The axes of a deterministic site: by its `event_dim`, else by the sizes of its plates."""
        shape, frames = site["value"].shape, {frame.dim: frame for frame in plates(site)}
        declared = site["fn"].event_dim
        splits = range(declared, declared + 1) if declared < len(shape) else range(len(shape) + 1)
        for num_event in splits:
            batch = shape[: len(shape) - num_event]
            if all(-dim <= len(batch) and batch[dim] == f.size for dim, f in frames.items()):
                names = {dim: frame.name for dim, frame in frames.items()}
                found = _batch_names(site["name"], batch, names)
                return cls((*found, *event_names(site["name"], num_event)), shape, len(batch))
        return cls(tuple(event_names(site["name"], len(shape))), shape, 0)

    @property
    def batch_shape(self) -> torch.Size:
        """The sizes of the batch axes."""
        return self.shape[: self.num_batch]

    def named(self, value: Tensor, *lead: str, first: str = "") -> Named:
        """Names for `(*lead, *shape)` or `(*lead, *batch shape)`, without the unnamed axes.

        Args:
            value: The values.
            *lead: The names of the axes before the site's own.
            first: The axis to put before the site's others.
        """
        names = self.names[: value.ndim - len(lead)]
        unnamed = [len(lead) + axis for axis, name in enumerate(names) if name is None]
        value = value.squeeze(unnamed)
        dims = [name for name in names if name is not None]
        if first in dims:
            value = value.movedim(len(lead) + dims.index(first), len(lead))
            dims.sort(key=lambda name: name != first)
        return (*lead, *dims), value


@dataclass(frozen=True, kw_only=True)
class Layout(UnitLayout):
    """Names for the axes of a program's sites, and its observations.

    Attributes:
        structure: The program's plates and latents.
        sites: The axes of each site, the deterministic ones among them; those of `pyro.factor` are
            left out.
        observations: The value of each observed site.
        computed: The deterministic sites.
        data_dim: The plate of the data: where the unit is the data set, the outermost that all
            observed sites share; empty if there is none.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     with pyro.plate("people", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)
        >>> layout = Layout.of(bind(model, torch.zeros(5)))
        >>> layout.latent_dims["z"], layout.sites["x"].names
        (('latent',), ('people',))
    """

    structure: ProgramStructure
    sites: Mapping[str, SiteAxes]
    observations: Mapping[str, Tensor]
    computed: tuple[str, ...]
    data_dim: str

    @classmethod
    def of(cls, program: BoundProgram) -> Self:
        """The names that one run of the program tells.

        The first event axis is called `latent` where there is one latent site, `output` where there
        is one observed site; all others `{site}_dim_{i}`, as ArviZ calls them. So are all axes
        where the unit is the data set.

        Raises:
            ValueError: If a plate draws a subsample, or has a name that is taken.
        """
        with program.session():
            run = program.record_alone()
        structure, frames = program.structure, _check_plates(run)
        observed = {k: s for k, s in run.observations.items() if not is_factor(s)}
        by_datum = structure.unit is Unit.DATUM
        sole = _sole_name("latent", run.latents, run.sites) if by_datum else ""
        output = _sole_name("output", observed, run.sites) if by_datum else ""
        return cls(
            latent_dims={
                site.name: _latent_dims(site, run.sites[site.name], sole)
                for site in structure.sites
            },
            unit_dims=(structure.data_plate,) if by_datum else (),
            observed_name="_".join(observed) or "factor",
            axes=RESERVED | {frame.name for frame in frames},
            structure=structure,
            sites={
                **{name: SiteAxes.of(site) for name, site in run.latents.items()},
                **{name: SiteAxes.of(site, sole=output) for name, site in observed.items()},
                **{name: SiteAxes.of_computed(site) for name, site in run.computed.items()},
            },
            observations={n: s["value"].expand(s["fn"].shape()) for n, s in observed.items()},
            computed=tuple(run.computed),
            data_dim=structure.data_plate if by_datum else _common_plate(observed),
        )

    @property
    def latent_name(self) -> str:
        """The name of all latents that have a density, which is summed over the discrete ones."""
        return "_".join(site.name for site in self.structure.latents)

    def site(self, name: str, value: Tensor, *lead: str) -> Named:
        """Names for a site's values `(*lead, *shape)` or `(*lead, *batch shape)`."""
        return self.sites[name].named(value, *lead, first=self.data_dim)

    def rows(self, values: Mapping[str, Tensor], num_lead: int) -> Tensor:
        """Values of the observed sites side by side, datum by datum.

        Args:
            values: Site name to `(*lead, *shape)`.
            num_lead: The number of the axes before a site's own.

        Returns:
            `(*lead, N, K)`; N is 1 where the observed sites share no plate.
        """
        lead = [str(axis) for axis in range(num_lead)]
        parts = [self.site(name, values[name], *lead)[1] for name in self.observations]
        if not self.data_dim:
            parts = [part.unsqueeze(num_lead) for part in parts]
        return torch.cat([part.unsqueeze(-1).flatten(num_lead + 1) for part in parts], -1)


def is_factor(site: Site) -> bool:
    """Whether a site is one of `pyro.factor`, which has a density but no value.

    Example:
        >>> is_factor({"fn": FactorDistribution(torch.zeros(3))})
        True
    """
    return isinstance(site["fn"], FactorDistribution)


def _sole_name(name: str, sites: Collection[str], others: Collection[str] = ()) -> str:
    """A name for the axis of the only site of its kind, unless a site is called so."""
    return name if len(sites) == 1 and name not in {*sites, *others} else ""


def _latent_dims(latent: LatentSite, site: Site, sole: str) -> tuple[str, ...]:
    frames = {frame.dim: frame.name for frame in plates(site)}
    inner = [frames[dim] for dim in latent.inner_dims]
    return (*inner, *event_names(latent.name, len(latent.event_shape), sole=sole))


def _batch_names(
    site: str, shape: Sequence[int], frames: Mapping[int, str]
) -> tuple[str | None, ...]:
    """A plate's name, none for an axis of size one, or a name as of an event."""
    return tuple(
        frames.get(axis - len(shape), None if size == 1 else f"{site}_batch_{axis}")
        for axis, size in enumerate(shape)
    )


def _common_plate(observed: Mapping[str, Site]) -> str:
    """The outermost plate that all of these sites share."""
    stacks = [plates(site) for site in observed.values()]
    common = (f.name for f in stacks[0] if all(f in s for s in stacks)) if stacks else ()
    return next(iter(common), "")


def _check_plates(run: SiteRecorder) -> set[CondIndepStackFrame]:
    """The plates, of which none draws a subsample or has a name that is taken."""
    frames = {frame for site in run.sites.values() for frame in plates(site)}
    taken = RESERVED & {frame.name for frame in frames}
    if taken:
        raise ValueError(
            f"Expected plates with names of their own, got {sorted(taken)}, which ArviZ or these "
            "groups use for something else. Rename the plate."
        )
    if any(frame.full_size not in (None, frame.size) for frame in frames):
        raise ValueError(
            "Expected a model of all its data, got one whose plate draws a subsample. Build it "
            "without subsample_size and pass the data to show."
        )
    return frames
