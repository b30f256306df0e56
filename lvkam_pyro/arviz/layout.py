"""The names of a model's axes: what xarray calls dimensions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from pyro.distributions import Unit
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor

from lvkam_pyro.tracing.recorder import Site
from lvkam_pyro.tracing.structure import Model, ModelStructure, plates, record_once

RESERVED = {"chain", "draw", "particle", "temperature", "swap", "estimator"}


class AxisNames(Protocol):
    """What axes and variables are called, wherever that is known from."""

    @property
    def latents(self) -> Mapping[str, "SiteLayout"]:
        """Layout of each latent site."""

    @property
    def data_dim(self) -> str:
        """The name of the axis of data."""

    @property
    def latent_name(self) -> str:
        """The name of all latents together."""

    @property
    def observed_name(self) -> str:
        """The name of all observations together."""


@dataclass(frozen=True)
class SiteLayout:
    """The axes of one site.

    Attributes:
        dims: Names of the axes: the data plate, the plates inside it, the event.
        inner_dims: Pyro's (negative) dimensions of the plates inside the data plate, ascending.
    """

    dims: tuple[str, ...]
    inner_dims: tuple[int, ...]


@dataclass(frozen=True)
class PlainLayout:
    """Names for draws of a model that is not at hand.

    Attributes:
        latents: Layout of each latent site.

    Example:
        >>> import torch
        >>> PlainLayout.of({"z": torch.zeros(4, 3, 2)}).latents["z"].dims
        ('data', 'latent')
    """

    latents: Mapping[str, SiteLayout]
    data_dim: str = "data"
    observed_name: str = "x"

    @classmethod
    def of(cls, latents: Mapping[str, Tensor]) -> Self:
        """Of draws `(S, N, ...)`."""
        shapes = {name: values.shape[2:] for name, values in latents.items()}
        return cls(
            {
                name: SiteLayout(
                    ("data", *event_names(name, len(shape), sole="latent" * (len(shapes) == 1))), ()
                )
                for name, shape in shapes.items()
            }
        )

    @property
    def latent_name(self) -> str:
        """The name of all latents together."""
        return "_".join(self.latents)


def event_names(site: str, num_axes: int, *, sole: str = "") -> list[str]:
    """What the axes of an event are called.

    Args:
        site: The site's name.
        num_axes: How many axes an event has.
        sole: The name of the first, if the site is the only one of its kind.

    Example:
        >>> event_names("z", 2), event_names("z", 2, sole="latent")
        (['z_dim_0', 'z_dim_1'], ['latent', 'z_dim_1'])
    """
    names = [f"{site}_dim_{axis}" for axis in range(num_axes)]
    return [sole, *names[1:]] if sole and names else names


@dataclass(frozen=True)
class DataLayout:
    """What the axes of a model's sites are called, and what was observed.

    Attributes:
        structure: The model's plates and latents.
        latents: Layout of each latent site.
        observed: Layout of each observed site; those of `pyro.factor` have no data.
        observations: Value of each observed site, `(N, *inner plates, *event)`.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("people", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)
        >>> layout = DataLayout.of(model, torch.zeros(5))
        >>> layout.latents["z"].dims, layout.observed["x"].dims
        (('people', 'latent'), ('people',))
    """

    structure: ModelStructure
    latents: Mapping[str, SiteLayout]
    observed: Mapping[str, SiteLayout]
    observations: Mapping[str, Tensor]

    @classmethod
    def of(cls, model: Model, x: Tensor) -> Self:
        """Runs the model to learn the names of its plates.

        The first event axis is called `latent` where there is one latent site, `output` where there
        is one observed site; all others `{site}_dim_{i}`, as ArviZ calls them.

        Raises:
            ValueError: If the model has no log density per datum, draws a subsample of its data, or
                calls a plate by a name that is taken.
        """
        structure = ModelStructure.of(model, x)
        run = record_once(model, x)
        observed = {k: s for k, s in run.observations.items() if not isinstance(s["fn"], Unit)}
        _check_plates(run.sites, structure, len(x))
        layouts = _describe(observed, structure, sole="output")
        return cls(
            structure,
            _describe(run.latents, structure, sole="latent"),
            layouts,
            {name: _observation(site, layouts[name], structure) for name, site in observed.items()},
        )

    @property
    def data_dim(self) -> str:
        """The name of the data plate."""
        return self.structure.data_plate

    @property
    def latent_name(self) -> str:
        """The name of all latents together."""
        return "_".join(self.latents)

    @property
    def observed_name(self) -> str:
        """The name of all observations together; `factor` where a model has only factors."""
        return "_".join(self.observed) or "factor"


def arrange(value: Tensor, site: SiteLayout, structure: ModelStructure) -> Tensor:
    """From Pyro's layout `(S, *plates, *event)` to `(S, N, *inner plates, *event)`."""
    batch, event = value.shape[: 1 + structure.num_plates], value.shape[1 + structure.num_plates :]
    inner = [batch[dim] for dim in site.inner_dims]
    moved = value.movedim(len(batch) + structure.data_dim, 1)
    return moved.reshape(*moved.shape[:2], *inner, *event)


def _observation(site: Site, layout: SiteLayout, structure: ModelStructure) -> Tensor:
    value = site["value"].expand(site["fn"].shape())
    missing = 1 + structure.num_plates - len(site["fn"].batch_shape)
    return arrange(value[(None,) * missing], layout, structure)[0]


def _describe(
    sites: Mapping[str, Site], structure: ModelStructure, *, sole: str
) -> dict[str, SiteLayout]:
    layouts = {}
    for name, site in sites.items():
        events = event_names(
            name, len(site["fn"].event_shape), sole=sole if len(sites) == 1 else ""
        )
        inner = [frame for frame in plates(site) if frame.name != structure.data_plate]
        inner.sort(key=lambda frame: frame.dim)
        dims = (structure.data_plate, *(frame.name for frame in inner), *events)
        layouts[name] = SiteLayout(dims, tuple(frame.dim for frame in inner))
    return layouts


def _check_plates(sites: Mapping[str, Site], structure: ModelStructure, num_data: int) -> None:
    frames = check_plate_names(sites)
    if any(f.name == structure.data_plate and f.size != num_data for f in frames):
        raise ValueError(
            f"Expected a data plate '{structure.data_plate}' of all {num_data} data, got one that "
            "draws a subsample. Build the model without subsample_size and pass the data to show."
        )


def check_plate_names(sites: Mapping[str, Site]) -> set[CondIndepStackFrame]:
    """The plates of a model, none of which has a name that ArviZ uses for something else.

    Args:
        sites: The sites of a run.

    Raises:
        ValueError: If one has.

    Example:
        >>> check_plate_names({})
        set()
    """
    frames = {frame for site in sites.values() for frame in plates(site)}
    taken = RESERVED & {frame.name for frame in frames}
    if taken:
        raise ValueError(
            f"Expected plates with names of their own, got {sorted(taken)}, which ArviZ or these "
            "groups use for something else. Rename the plate."
        )
    return frames
