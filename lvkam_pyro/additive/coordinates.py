"""A model's latents as independent coordinates, each with a one-dimensional prior."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import LatentRecorder, Site
from lvkam_pyro.tracing.structure import LatentSite, Unit

_TAIL_MASS = 1e-12
_TAIL_DEVIATIONS = 12.0


@dataclass(frozen=True)
class LatentCoordinates:
    r"""The coordinates :math:`z_1, \dots, z_Q` of all latent sites, independent a priori.

    .. math:: p(z) = \prod_{q=1}^{Q} p_q(z_q)

    Attributes:
        sites: The latent sites, in the model's order; their events follow one another.
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

    sites: tuple[LatentSite, ...]
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
        if structure.num_plates != 1 or program.unit is Unit.DATA_SET:
            raise ValueError(
                f"Expected the data plate '{structure.data_plate}' alone, got a model with further "
                "plates beside it. Declare what is inside them as one event by .to_event(...)."
            )
        last = LatentRecorder(last=structure.latents[-1].name)
        one = program.first if program.takes_any else program.subsample()
        recorded = one.record_alone(last).latents
        priors = tuple(_univariate(recorded[site.name], site) for site in structure.latents)
        ranges = [_range(prior) for prior in priors]
        return cls(
            sites=structure.latents,
            priors=priors,
            low=torch.cat([low for low, _ in ranges]),
            high=torch.cat([high for _, high in ranges]),
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
        values = self.split(points[:, None])
        terms = [
            prior.log_prob(values[site.name]).reshape(len(points), -1)
            for site, prior in zip(self.sites, self.priors, strict=True)
        ]
        return torch.cat(terms, -1).double()

    def split(self, position: Tensor) -> dict[str, Tensor]:
        """The sites' values from positions `(S, N, Q)`: name to `(S, N, *event)`."""
        sizes = [site.event_shape.numel() for site in self.sites]
        parts = position.to(self.dtype).split(sizes, -1)
        return {
            site.name: part.reshape(*part.shape[:-1], *site.event_shape)
            for site, part in zip(self.sites, parts, strict=True)
        }

    def join(self, values: Mapping[str, Tensor]) -> Tensor:
        """Positions `(S, N, Q)` in float64 from the sites' values `(S, N, *event)`."""
        parts = [values[site.name] for site in self.sites]
        return torch.cat([part.reshape(*part.shape[:2], -1).double() for part in parts], -1)


def _univariate(recorded: Site, site: LatentSite) -> Distribution:
    """The univariate distribution of each coordinate of a site."""
    law: Any = recorded["fn"]
    while isinstance(law, Independent):
        law = law.base_dist
    if site.masked or site.inner_shape:
        raise ValueError(
            f"The latent site '{site.name}' has a mask or a plate inside the data plate "
            "around it, so its coordinates are not those of one known prior. Declare it as one "
            "event by .to_event(...), directly inside the data plate."
        )
    law = law if law.batch_shape[:1] == (1,) else _of_the_first(law)
    if law.event_shape or law.batch_shape != (1, *site.event_shape):
        raise ValueError(
            f"The latent site '{site.name}' has the prior {type(law).__name__} of batch shape "
            f"{tuple(law.batch_shape)} and event shape {tuple(law.event_shape)}: its coordinates "
            "are not independent of each other. Use a prior of the form law.to_event(1), or "
            "another estimator."
        )
    return law


def _of_the_first(law: Distribution) -> Distribution:
    """The distribution of the first of a batch, if its parameters tell; else itself."""
    names = getattr(law, "arg_constraints", {})
    parameters = {name: law.__dict__[name] for name in names if name in law.__dict__}
    if not parameters or not all(p.shape[:1] == law.batch_shape[:1] for p in parameters.values()):
        return law
    first: Distribution = type(law)(**{name: p[:1] for name, p in parameters.items()})
    return first


def _range(prior: Distribution) -> tuple[Tensor, Tensor]:
    """Where a prior has its mass: its support, or all but 1e-12 of the mass on a side without."""
    shape = prior.batch_shape
    bounds = [
        torch.as_tensor(getattr(prior.support, name, default), dtype=torch.float64)
        for name, default in (("lower_bound", -torch.inf), ("upper_bound", torch.inf))
    ]
    outer_low, outer_high = _outer_quantiles(prior)
    low, high = (bound.detach().to(outer_low).expand(shape).flatten() for bound in bounds)
    return torch.where(low.isfinite(), low, outer_low), torch.where(
        high.isfinite(), high, outer_high
    )


def _outer_quantiles(prior: Distribution) -> tuple[Tensor, Tensor]:
    """Points beyond which next to no mass lies, `(Q,)` each in float64."""
    with torch.no_grad():
        try:
            tails = torch.tensor([_TAIL_MASS, 1 - _TAIL_MASS], dtype=torch.float64)
            low, high = (prior.icdf(tail) for tail in tails)
        except NotImplementedError:
            spread = _TAIL_DEVIATIONS * prior.variance.sqrt()
            low, high = prior.mean - spread, prior.mean + spread
    shape = prior.batch_shape
    return low.double().expand(shape).flatten(), high.double().expand(shape).flatten()
