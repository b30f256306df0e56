"""One table of one-dimensional densities, over which every contract test runs."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import (
    Beta,
    Distribution,
    Exponential,
    HalfNormal,
    Laplace,
    LogNormal,
    Normal,
    Pareto,
    Uniform,
)

from lvkam_pyro.distributions.energy import EnergyDistribution
from lvkam_pyro.distributions.logspline import LogSpline, LogSplineMixture
from lvkam_pyro.distributions.mixture import EnergyMixture
from lvkam_pyro.distributions.rejection import RejectionSampler
from lvkam_pyro.distributions.univariate import UnivariateDensity
from lvkam_pyro.kan.bases.bspline import BSplineBasis

Make = Callable[[Tensor], UnivariateDensity]


def spline_table(parameters: Tensor, *, grid_size: int = 8, sd: float = 2.0) -> Tensor:
    """Local polynomials of cubic splines with standard normal coefficients times `sd`."""
    basis = BSplineBasis(grid_size=grid_size).to(parameters.dtype)
    return basis.to_polynomials(sd * parameters)


def cells(low: float, high: float, count: int, like: Tensor) -> Tensor:
    return torch.linspace(low, high, count + 1, dtype=like.dtype)


def weights(count: int, like: Tensor) -> Tensor:
    """Unequal logits of `count` components."""
    return torch.linspace(-1, 1, count, dtype=like.dtype)


def tilted_uniform(theta: Tensor) -> EnergyDistribution:
    return EnergyDistribution(lambda z: theta * z, breakpoints=cells(0, 1, 4, theta))


def wave_on_normal(theta: Tensor) -> EnergyDistribution:
    return EnergyDistribution(
        lambda z: theta * torch.sin(3 * z), Normal(0.0, 1.0), breakpoints=cells(-4, 4, 24, theta)
    )


def wave_on_lognormal(theta: Tensor) -> EnergyDistribution:
    return EnergyDistribution(
        lambda z: theta * torch.sin(z), LogNormal(0.0, 0.5), breakpoints=cells(0, 6, 24, theta)
    )


def wave_on(
    reference: Distribution, low: float, high: float
) -> Callable[[Tensor], EnergyDistribution]:
    """A wave on any reference measure, between breakpoints that may leave it tails."""

    def build(theta: Tensor) -> EnergyDistribution:
        breakpoints = cells(low, high, 12, theta)
        return EnergyDistribution(
            lambda z: theta * torch.sin(2 * z), reference, breakpoints=breakpoints
        )

    return build


def spline(theta: Tensor) -> LogSpline:
    return LogSpline(spline_table(theta), cells(0, 1, 8, theta))


def steep_spline(theta: Tensor) -> LogSpline:
    return LogSpline(spline_table(theta, sd=8.0), cells(0, 1, 8, theta))


def spline_on_normal(theta: Tensor) -> LogSpline:
    return LogSpline(spline_table(theta), cells(-3, 3, 8, theta), Normal(0.0, 1.0))


def mixture(theta: Tensor) -> EnergyMixture:
    components = EnergyDistribution(lambda z: 6 * theta * z, breakpoints=cells(0, 1, 8, theta))
    return EnergyMixture(components, weights(theta.shape[-1], theta))


def spline_mixture(theta: Tensor) -> LogSplineMixture:
    return LogSplineMixture(spline(theta), weights(theta.shape[-2], theta))


def spline_mixture_on_normal(theta: Tensor) -> LogSplineMixture:
    return LogSplineMixture(spline_on_normal(theta), weights(theta.shape[-2], theta))


def component(theta: Tensor) -> UnivariateDensity:
    return mixture(theta).component(torch.tensor(2))


def spline_component(theta: Tensor) -> UnivariateDensity:
    return spline_mixture(theta).component(torch.tensor(2))


def own_knots(theta: Tensor, num_dims: int) -> Tensor:
    """Eight cells between -1 and 1, others for each row of a batch of so many dimensions."""
    powers = torch.linspace(0.4, 2.5, len(theta), dtype=theta.dtype)
    places = cells(0, 1, 8, theta) ** powers.view(-1, *[1] * num_dims)
    return torch.cat([-1 + 2 * places[..., :-1], torch.ones_like(places[..., -1:])], -1)


def spline_of_own_knots(theta: Tensor) -> LogSpline:
    return LogSpline(spline_table(theta), own_knots(theta, theta.ndim - 1), Normal(0.0, 1.0))


def spline_mixture_of_own_knots(theta: Tensor) -> LogSplineMixture:
    components = LogSpline(spline_table(theta), own_knots(theta, theta.ndim - 1))
    return LogSplineMixture(components, weights(theta.shape[-2], theta))


def mixture_of_own_knots(theta: Tensor) -> EnergyMixture:
    knots = own_knots(theta, theta.ndim)
    components = EnergyDistribution(
        lambda z: 3 * theta * (z - knots[..., 3]).abs(), Uniform(-1.0, 1.0), breakpoints=knots
    )
    return EnergyMixture(components, weights(theta.shape[-1], theta))


def spline_by_rejection(theta: Tensor) -> LogSpline:
    return spline(theta).drawn_by(RejectionSampler())


DENSITIES: dict[str, tuple[Make, tuple[int, ...]]] = {
    "tilted uniform": (tilted_uniform, (3,)),
    "wave on normal": (wave_on_normal, (3,)),
    "wave on lognormal": (wave_on_lognormal, ()),
    "wave on half-normal": (wave_on(HalfNormal(1.0), 0, 3), ()),
    "wave on exponential": (wave_on(Exponential(2.0), 0, 2), (2,)),
    "wave on beta": (wave_on(Beta(2.0, 3.0), 0, 1), ()),
    "wave on Laplace": (wave_on(Laplace(0.0, 0.5), -2, 2), ()),
    "wave above one": (wave_on(Pareto(1.0, 14.0), 1, 3), ()),
    "spline": (spline, (2, 3, 11)),
    "spline by rejection": (spline_by_rejection, (3, 11)),
    "steep spline": (steep_spline, (3, 11)),
    "spline on normal": (spline_on_normal, (3, 11)),
    "mixture": (mixture, (3, 4)),
    "spline mixture": (spline_mixture, (3, 4, 11)),
    "spline mixture on normal": (spline_mixture_on_normal, (3, 4, 11)),
    "component": (component, (3, 4)),
    "component of splines": (spline_component, (3, 4, 11)),
    "spline of own knots": (spline_of_own_knots, (3, 2, 11)),
    "spline mixture of own knots": (spline_mixture_of_own_knots, (3, 4, 11)),
    "mixture of own knots": (mixture_of_own_knots, (3, 4)),
}
"""Name to a constructor from parameters, and the shape of these parameters."""


def make(name: str, *, dtype: torch.dtype = torch.float64, seed: int = 0) -> UnivariateDensity:
    """The named density at standard normal parameters."""
    constructor, _ = DENSITIES[name]
    return constructor(parameters(name, dtype=dtype, seed=seed))


def parameters(name: str, *, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Standard normal parameters of the named density."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(DENSITIES[name][1], dtype=dtype, generator=generator)


def integration_bounds(density: UnivariateDensity) -> tuple[float, float]:
    """An interval that holds all but a negligible part of the mass."""
    if isinstance(density.reference, Uniform):
        return float(density.breakpoints.min()), float(density.breakpoints.max())
    return _BOUNDS[type(density.reference)]


_BOUNDS: dict[type[Distribution], tuple[float, float]] = {
    Normal: (-9.0, 9.0),
    LogNormal: (0.0, 30.0),
    HalfNormal: (0.0, 9.0),
    Exponential: (0.0, 18.0),
    Beta: (0.0, 1.0),
    Laplace: (-16.0, 16.0),
    Pareto: (1.0, 9.0),
}
