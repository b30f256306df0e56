"""A model's latents as independent coordinates, each with a one-dimensional prior."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.distributions import Distribution

from lvkam_pyro.distributions.shapes import without_events
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import LatentRecorder, Site
from lvkam_pyro.tracing.structure import LatentSite, ProgramStructure, Unit

_TAIL_MASS = 1e-12
_TAIL_DEVIATIONS = 12.0


@dataclass(frozen=True)
class LatentCoordinates:
    r"""The coordinates :math:`z_1, \dots, z_Q` of all latent sites, independent a priori.

    .. math:: p(z) = \prod_{q=1}^{Q} p_q(z_q)

    Attributes:
        structure: The program's; the events of its latent sites follow one another.
        priors: The univariate prior of each site, of batch shape `(1, *event)`.
        low: The lower end of each coordinate's range, `(Q,)` in float64.
        high: The upper end.
        dtype: The precision in which the model wants its latents.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         a = pyro.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         b = pyro.sample("b", dist.Uniform(0.0, 3.0))
        ...         pyro.sample("x", dist.Normal(a.sum(-1) + b, 1.0), obs=x)
        >>> coordinates = LatentCoordinates.of(bind(model, torch.zeros(5)))
        >>> coordinates.num_coordinates, coordinates.high[2]
        (3, tensor(3., dtype=torch.float64))
    """

    structure: ProgramStructure
    priors: tuple[Distribution, ...]
    low: Tensor
    high: Tensor
    dtype: torch.dtype

    @classmethod
    def of(cls, program: BoundProgram) -> Self:
        """Read the priors off one run of the program on the first datum.

        Args:
            program: The bound program.

        Returns:
            The coordinates.

        Raises:
            ValueError: If a latent site's coordinates are not independent and univariate, or it
                lies in a further plate or under a mask, or no datum can be taken by itself.
        """
        structure = program.structure
        if program.unit is Unit.DATUM and structure.num_plates != 1:
            raise ValueError(
                f"Expected the data plate '{structure.data_plate}' alone, got a model with further "
                "plates beside it. Declare what is inside them as one event by .to_event(...)."
            )
        last = LatentRecorder(last=structure.latents[-1].name)
        one = program.first if program.takes_any else program.subsample()
        recorded = one.record_alone(last).latents
        priors = tuple(_univariate(recorded[site.name], site) for site in structure.latents)
        low, high = torch.cat([_range(prior) for prior in priors], -1)
        return cls(
            structure=structure,
            priors=priors,
            low=low,
            high=high,
            dtype=structure.latents[0].dtype,
        )

    @property
    def num_coordinates(self) -> int:
        """The number of coordinates Q."""
        return len(self.low)

    def log_prob(self, points: Tensor) -> Tensor:
        """The log prior density of every coordinate by itself.

        Args:
            points: `(M, Q)`.

        Returns:
            Log densities `(M, Q)` in float64.
        """
        pairs = zip(self.split(points[:, None]).values(), self.priors, strict=True)
        terms = [prior.log_prob(value).reshape(len(points), -1) for value, prior in pairs]
        return torch.cat(terms, -1).double()

    def sample(self, num_draws: int) -> Tensor:
        """Draws from the prior, positions `(S, Q)` in float64."""
        draws = [prior.sample(torch.Size([num_draws])) for prior in self.priors]
        return torch.cat([draw.reshape(num_draws, -1).double() for draw in draws], -1)

    @property
    def is_open(self) -> Tensor:
        """Whether a prior has no lower, no upper bound, `(2, Q)`."""
        bounds = torch.cat([_support_bounds(prior) for prior in self.priors], -1)
        return ~bounds.isfinite().to(self.low.device)

    def split(self, position: Tensor) -> dict[str, Tensor]:
        """The sites' values from positions `(S, N, Q)`: name to `(S, N, *event)`."""
        return self.structure.split(position.to(self.dtype))


def _univariate(recorded: Site, site: LatentSite) -> Distribution:
    """The univariate distribution of each coordinate of a site."""
    prior = without_events(recorded["fn"])
    if site.masked or site.inner_shape:
        raise ValueError(
            f"The latent site '{site.name}' has a mask or a plate inside the data plate "
            "around it, so its coordinates are not those of one known prior. Declare it as one "
            "event by .to_event(...), directly inside the data plate."
        )
    if prior.batch_shape == site.event_shape:  # A site outside of all plates.
        prior = prior.expand(torch.Size([1, *site.event_shape]))
    prior = prior if prior.batch_shape[:1] == (1,) else _first_of_batch(prior)
    if prior.event_shape or prior.batch_shape != (1, *site.event_shape):
        raise ValueError(
            f"The latent site '{site.name}' has the prior {type(prior).__name__} of batch shape "
            f"{tuple(prior.batch_shape)} and event shape {tuple(prior.event_shape)}: its "
            "coordinates are not independent of each other. Use a prior of the form "
            "distribution.to_event(1), or another estimator."
        )
    return prior


def _first_of_batch(prior: Distribution) -> Distribution:
    """The distribution of the first of a batch, if its parameters tell; else itself."""
    names = getattr(prior, "arg_constraints", {})
    parameters = {name: prior.__dict__[name] for name in names if name in prior.__dict__}
    if not parameters or not all(p.shape[:1] == prior.batch_shape[:1] for p in parameters.values()):
        return prior
    first: Distribution = type(prior)(**{name: p[:1] for name, p in parameters.items()})
    return first


def _support_bounds(prior: Distribution) -> Tensor:
    """The ends of a prior's support, `(2, Q)` in float64; infinite on a side without."""
    bounds = [
        torch.as_tensor(getattr(prior.support, name, default), dtype=torch.float64)
        for name, default in (("lower_bound", -torch.inf), ("upper_bound", torch.inf))
    ]
    return torch.stack([bound.detach().expand(prior.batch_shape).flatten() for bound in bounds])


def _range(prior: Distribution) -> Tensor:
    """The range of a prior's mass, `(2, Q)`: its support, or all but 1e-12 on an open side."""
    outer = _outer_quantiles(prior)
    bounds = _support_bounds(prior).to(outer)
    return torch.where(bounds.isfinite(), bounds, outer)


def _outer_quantiles(prior: Distribution) -> Tensor:
    """Points beyond which next to no mass lies, `(2, Q)` in float64."""
    with torch.no_grad():
        try:
            tails = torch.tensor([_TAIL_MASS, 1 - _TAIL_MASS], dtype=torch.float64)
            ends = [prior.icdf(tail) for tail in tails]
        except NotImplementedError:
            spread = _TAIL_DEVIATIONS * prior.variance.sqrt()
            ends = [prior.mean - spread, prior.mean + spread]
    return torch.stack([end.double().expand(prior.batch_shape).flatten() for end in ends])
