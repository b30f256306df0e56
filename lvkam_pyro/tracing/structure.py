"""What a Pyro model looks like: its data plate, its latent sites and their layout."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

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

from lvkam_pyro.tracing.parameters import own_parameters
from lvkam_pyro.tracing.recorder import Site, SiteRecorder
from lvkam_pyro.tracing.seeding import preserved_rng

Model = Callable[..., Any]
"""A Pyro program of one positional tensor whose first axis is the data plate."""


def plates(site: Site) -> list[CondIndepStackFrame]:
    """The vectorised plates around a site, outermost first.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> with pyro.plate("data", 5), SiteRecorder() as run:
        ...     z = pyro.sample("z", dist.Normal(0.0, 1.0))
        >>> [frame.name for frame in plates(run.sites["z"])]
        ['data']
    """
    return [frame for frame in site["cond_indep_stack"] if frame.vectorized]


def subsampling_scale(frame: CondIndepStackFrame) -> float:
    """The factor full size / size by which a plate scales the log densities inside it.

    Example:
        >>> subsampling_scale(CondIndepStackFrame("data", -1, size=5, counter=0, full_size=20))
        4.0
    """
    return 1.0 if frame.full_size is None else frame.full_size / frame.size


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
        weighted: Whether a mask, a user's scale or an inner subsample changes its density.
        has_bijection: Whether torch maps the real space onto its support, so that chains can move.
    """

    name: str
    event_shape: torch.Size
    unconstrained_shape: torch.Size
    inner_dims: tuple[int, ...]
    inner_shape: torch.Size
    weighted: bool
    has_bijection: bool

    @property
    def num_coordinates(self) -> int:
        """The number of unconstrained coordinates that one datum has at this site."""
        return self.inner_shape.numel() * self.unconstrained_shape.numel()


@dataclass(frozen=True)
class ModelStructure:
    """The data plate and the latent sites of a model, found by one run of it.

    The data plate is the outermost vectorised plate that all observed sites share (among several,
    the first whose size is `len(x)`); every latent site must lie in it.

    Attributes:
        data_plate: The name of the data plate.
        data_dim: Its dimension, counted from the right (negative).
        num_plates: Pyro's `max_plate_nesting`; particles live at dimension `-(num_plates + 1)`.
        latents: The latent sites in the order in which the model draws them.
        follows_data: Whether the plate's size is `len(x)` for any `x`, so that data can be split.
        shares_particles: Whether prior draws made for one datum can serve all.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)
        >>> structure = ModelStructure.of(model, torch.zeros(5, 2))
        >>> structure.data_plate, structure.num_plates, structure.latents[0].event_shape
        ('data', 1, torch.Size([2]))
    """

    data_plate: str
    data_dim: int
    num_plates: int
    latents: tuple[LatentSite, ...]
    follows_data: bool
    shares_particles: bool

    @classmethod
    def of(cls, model: Model, x: Tensor) -> Self:
        """Run the model once, without gradients and without touching the caller's generator.

        Args:
            model: The Pyro model.
            x: The observations, of shape `(N, ...)`.

        Returns:
            The structure, valid for every `x` of the same kind.

        Raises:
            ValueError: If there is nothing observed, no common plate, a latent outside the data
                plate, or a discrete latent.
        """
        sites = record_once(model, x)
        plate = find_data_plate(sites.observations, len(x))
        for site in sites.latents.values():
            _check_latent(site, plate)
        latents = tuple(_describe_latent(site, plate) for site in sites.latents.values())
        follows = _follows(model, x, plate)
        return cls(
            data_plate=plate.name,
            data_dim=plate.dim,
            num_plates=max(-frame.dim for site in sites.sites.values() for frame in plates(site)),
            latents=latents,
            follows_data=follows,
            shares_particles=follows and all(s["mask"] is None for s in sites.latents.values()),
        )

    @property
    def particle_dim(self) -> int:
        """The dimension at which particles are stacked, left of all plates."""
        return -(self.num_plates + 1)

    def plate_of(self, site: Site) -> CondIndepStackFrame:
        """The data plate's frame at a site.

        Raises:
            ValueError: If the site lies outside the data plate.
        """
        for frame in site["cond_indep_stack"]:
            if frame.name == self.data_plate:
                return frame
        raise ValueError(_outside_message(site["name"], self.data_plate))

    def to_particles(self, value: Tensor, site: LatentSite) -> Tensor:
        """From Pyro's layout `(S, *plates, *event)` to `(S, N, *inner plates, *event)`."""
        if self.num_plates == 1:
            return value
        moved = value.movedim(1 + self.num_plates + self.data_dim, 1)
        event = value.shape[1 + self.num_plates :]
        return moved.reshape(*moved.shape[:2], *site.inner_shape, *event)

    def to_pyro(self, value: Tensor, site: LatentSite) -> Tensor:
        """From `(S, N, *inner plates, *event)` to Pyro's layout `(S, *plates, *event)`."""
        if self.num_plates == 1:
            return value
        sizes = dict(zip(site.inner_dims, site.inner_shape, strict=True))
        others = [sizes.get(d, 1) for d in range(-self.num_plates, 0) if d != self.data_dim]
        event = value.shape[2 + len(site.inner_shape) :]
        spread = value.reshape(*value.shape[:2], *others, *event)
        return spread.movedim(1, 1 + self.num_plates + self.data_dim)


def record_once(model: Model, x: Tensor) -> SiteRecorder:
    """One run of the model without gradients; the caller's generators stay where they were.

    So does Pyro's parameter store: the model runs on its own parameters.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> list(record_once(model, torch.zeros(5)).latents)
        ['z']
    """
    sites = SiteRecorder()
    with torch.no_grad(), preserved_rng(x), own_parameters(model), sites:
        model(x)
    return sites


def find_data_plate(observations: dict[str, Site], num_data: int) -> CondIndepStackFrame:
    """The outermost plate that all observed sites share, by preference one of `len(x)`.

    Raises:
        ValueError: If there is none, or nothing is observed.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("groups", 2, dim=-2), pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("x", dist.Normal(0.0, 1.0), obs=x.expand(2, -1))
        >>> find_data_plate(record_once(model, torch.zeros(5)).observations, 5).name
        'data'
    """
    if not observations:
        raise ValueError(
            "The model observes nothing, so it has no evidence. Pass the data to the likelihood's "
            "site, e.g. pyro.sample('x', likelihood, obs=x)."
        )
    stacks = [plates(site) for site in observations.values()]
    common = [frame for frame in stacks[0] if all(frame in stack for stack in stacks[1:])]
    if not common:
        raise ValueError(
            f"The observed sites {sorted(observations)} share no vectorised plate, so there is no "
            "log density per datum. Put all of them into one `with pyro.plate('data', len(x)):`."
        )
    fitting = [frame for frame in common if num_data in (frame.size, frame.full_size)]
    return (fitting or common)[0]


def _outside_message(name: str, plate: str) -> str:
    """What to do about a site outside the data plate."""
    return (
        f"The latent site '{name}' is outside the data plate '{plate}', so the data are not "
        f"independent and have no evidence each. Draw it inside `with pyro.plate('{plate}', ...)`, "
        "or make it a parameter by pyro.param."
    )


def _check_latent(site: Site, plate: CondIndepStackFrame) -> None:
    """A latent site lies in the data plate and is continuous."""
    if plate not in plates(site):
        raise ValueError(_outside_message(site["name"], plate.name))
    if site["fn"].support.is_discrete:
        raise ValueError(
            f"The latent site '{site['name']}' is discrete ({type(site['fn']).__name__}). "
            "Sum it out in the model, e.g. by a mixture distribution over it."
        )


def _describe_latent(site: Site, plate: CondIndepStackFrame) -> LatentSite:
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
        weighted=is_weighted(site, plate),
        has_bijection=shape is not None,
    )


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


def is_weighted(site: Site, plate: CondIndepStackFrame) -> bool:
    """Whether a mask, a user's scale or an inner subsample changes the density of a site.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)), pyro.poutine.scale(scale=0.5):
        ...         pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)
        >>> site = record_once(model, torch.zeros(5)).sites["x"]
        >>> is_weighted(site, plates(site)[0])
        True
    """
    scale = site["scale"] / subsampling_scale(plate)
    return site["mask"] is not None or isinstance(scale, Tensor) or abs(scale - 1) > 1e-9


def _follows(model: Model, x: Tensor, plate: CondIndepStackFrame) -> bool:
    """Whether the model, given one datum, has a data plate of size one."""
    try:
        sites = record_once(model, x[:1])
    except (ValueError, RuntimeError, IndexError):
        # A plate of fixed size cannot broadcast against one datum: its data come together.
        return False
    frames = [frame for site in sites.sites.values() for frame in plates(site)]
    return all(frame.size == 1 for frame in frames if frame.name == plate.name)
