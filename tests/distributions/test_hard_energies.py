"""Energies that equal panels cannot resolve: spikes, cliffs, many modes, energies of 10,000."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import pytest
import torch
from mpmath import mp
from torch import Tensor

from lvkam_pyro.distributions.energy import EnergyDistribution
from lvkam_pyro.distributions.logspline import LogSpline
from lvkam_pyro.distributions.mixture import EnergyMixture
from lvkam_pyro.distributions.table import Table
from lvkam_pyro.distributions.univariate import UnivariateDensity
from tests.distributions.densities import spline_table

PROBABILITY = 1e-9
"""Error of the distribution function in float64; the table aims at 1e-10."""


class Hard(NamedTuple):
    """Coefficients of one energy on equal cells of [0, 1], and its law in closed form."""

    table: Tensor
    log_normalizer: float
    cdf: Callable[[float], float]
    mean: float
    variance: float
    entropy: float


def bell(centre: float, deviation: float) -> Hard:
    """One cell with the energy of a normal density, which the cell cuts off."""
    scale = 1 / mp.mpf(deviation)

    def standard(z: float) -> object:
        return mp.ncdf((z - mp.mpf(centre)) * scale)

    total = standard(1.0) - standard(0.0)
    peak = 0.5 * scale**2
    coefficients = [-peak * centre**2, 2 * peak * centre, -peak]
    return Hard(
        torch.tensor([[float(c) for c in coefficients]], dtype=torch.float64),
        float(mp.log(total * deviation * mp.sqrt(2 * mp.pi))),
        lambda z: float((standard(z) - standard(0.0)) / total),
        centre,
        deviation**2,
        0.5 * math.log(2 * math.pi * math.e * deviation**2),
    )


def zigzag(*heights: float) -> Hard:
    """Straight lines between the heights at equally spaced breakpoints."""
    width = mp.mpf(1) / (len(heights) - 1)
    ends = [(mp.mpf(a), mp.mpf(b)) for a, b in pairwise(heights)]
    top = max(heights)

    def moment(a: object, b: object, power: int, place: object = 1) -> object:
        """Integral of t^power exp(a + (b - a) t - top) over t in [0, place]."""
        return mp.quad(
            lambda t: t**power * mp.exp(a + (b - a) * t - top), pieces(abs(b - a), place)
        )

    masses = [width * moment(a, b, 0) for a, b in ends]
    total = mp.fsum(masses)

    def cdf(z: float) -> float:
        cell = min(int(z / width), len(ends) - 1)
        part = width * moment(*ends[cell], 0, z / width - cell)
        return float((mp.fsum(masses[:cell]) + part) / total)

    def expect(g: Callable[[int, object, object], object]) -> object:
        return mp.fsum(width * g(i, *cell) for i, cell in enumerate(ends)) / total

    mean = expect(lambda i, a, b: width * (i * moment(a, b, 0) + moment(a, b, 1)))
    square = expect(
        lambda i, a, b: (
            width**2 * (i**2 * moment(a, b, 0) + 2 * i * moment(a, b, 1) + moment(a, b, 2))
        )
    )
    energy = expect(lambda _, a, b: a * moment(a, b, 0) + (b - a) * moment(a, b, 1))
    log_normalizer = mp.log(total) + top
    return Hard(
        torch.tensor([[float(a), float(b - a)] for a, b in ends], dtype=torch.float64),
        float(log_normalizer),
        cdf,
        float(mean),
        float(square - mean**2),
        float(log_normalizer - energy),
    )


def pieces(change: object, place: object) -> list[object]:
    """Points that resolve an exponential which changes by so many nats over [0, 1]."""
    steps = [mp.mpf(s) / max(change, 1) for s in (3, 10, 30, 100)]
    inner = {p for s in steps for p in (s, place - s) if 0 < p < place}
    return [mp.mpf(0), *sorted(inner), mp.mpf(place)]


mp.dps = 40
HARD: dict[str, Hard] = {
    "flat": zigzag(0.0, 0.0, 0.0, 0.0),
    "flat at 10,000": zigzag(1e4, 1e4, 1e4),
    "spike": bell(0.3137, 1e-3),
    "spike in 1e-5 of its cell": bell(0.7071, 1e-5),
    "nearly degenerate": bell(0.3333, 1e-7),
    "cliff": zigzag(0.0, 300.0),
    "cliff of 20,000": zigzag(1e4, -1e4, 0.0),
    "many modes": zigzag(*[0.0, 40.0] * 8),
    "two far modes of equal mass": zigzag(-1e4, 1e4, -1e4, -1e4, 1e4, -1e4),
    "a spike beside a plateau": zigzag(0.0, 0.0, 0.0, -5000.0, 6.0, -5000.0, 0.0, 0.0),
    "alternating 10,000": zigzag(*[1e4, -1e4] * 10),
}
every_energy = pytest.mark.parametrize("hard", HARD.values(), ids=HARD)


def as_spline(hard: Hard, dtype: torch.dtype) -> UnivariateDensity:
    points = torch.linspace(0, 1, len(hard.table) + 1, dtype=dtype)
    return LogSpline(hard.table.to(dtype), points)


def as_callable(hard: Hard, dtype: torch.dtype) -> UnivariateDensity:
    count = len(hard.table)
    table = hard.table.to(dtype)

    def energy(z: Tensor) -> Tensor:
        cell = (z * count).long().clamp(0, count - 1)
        t = z * count - cell
        return (table[cell] * t.unsqueeze(-1) ** torch.arange(table.shape[-1])).sum(-1)

    points = torch.linspace(0, 1, count + 1, dtype=dtype)
    return EnergyDistribution(energy, breakpoints=points)


def as_mixture(hard: Hard, dtype: torch.dtype) -> UnivariateDensity:
    """Of two equal components, with panels of its own."""
    points = torch.linspace(0, 1, len(hard.table) + 1, dtype=dtype)
    return EnergyMixture(LogSpline(hard.table.to(dtype).expand(2, -1, -1), points))


every_form = pytest.mark.parametrize("form", [as_spline, as_callable, as_mixture])


@every_form
@every_energy
def test_draws_are_exact(
    hard: Hard, form: Callable[[Hard, torch.dtype], UnivariateDensity]
) -> None:
    density = form(hard, torch.float64)
    u = torch.cat([torch.rand(15), torch.tensor([1e-6, 0.5, 1 - 1e-6])]).double()
    z = density.icdf(u)
    exact = torch.tensor([hard.cdf(float(each)) for each in z], dtype=torch.float64)
    # A place is known to half a unit in its last digit, an energy to one in its own.
    rounding = torch.finfo(z.dtype).eps * (
        density.log_prob(z).exp() * z + 4 * hard.table.abs().max()
    )
    assert ((exact - u).abs() - rounding).max() < PROBABILITY
    assert ((density.cdf(z) - exact).abs() - rounding).max() < PROBABILITY


@every_energy
def test_draws_in_single_precision(hard: Hard) -> None:
    density = as_spline(hard, torch.float32)
    z = density.sample((200_000,)).double()
    law = as_spline(hard._replace(table=hard.table.float().double()), torch.float64)
    ranks = law.cdf(z).sort().values
    steps = (torch.arange(len(ranks)) + 0.5) / len(ranks)
    rounding = torch.finfo(torch.float32).eps * (law.log_prob(z).exp() * z).max()
    # Kolmogorov's distance of exact draws stays below this but once in 50,000 times.
    assert (ranks - steps).abs().max() - rounding < 2.4 / len(ranks) ** 0.5


@every_form
@every_energy
def test_integrals_are_exact(
    hard: Hard, form: Callable[[Hard, torch.dtype], UnivariateDensity]
) -> None:
    density = form(hard, torch.float64)
    size = float(hard.table.abs().max()) * torch.finfo(torch.float64).eps
    z = torch.tensor(0.123, dtype=torch.float64)
    cell = int(0.123 * len(hard.table))
    t = 0.123 * len(hard.table) - cell
    energy = sum(float(c) * t**power for power, c in enumerate(hard.table[cell]))
    log_prob = energy - hard.log_normalizer
    assert float(density.log_prob(z)) == pytest.approx(log_prob, abs=1e-8 + 8 * size)
    assert float(density.mean) == pytest.approx(hard.mean, rel=1e-9)
    assert float(density.variance) == pytest.approx(hard.variance, rel=1e-6 + 1e3 * size)
    assert float(density.entropy()) == pytest.approx(hard.entropy, abs=1e-7 + 8 * size)


@pytest.mark.parametrize("grid_size", [4, 20, 60])
@pytest.mark.parametrize("deviation", [1.0, 18.0, 300.0, 1e4])
def test_four_times_the_panels_change_nothing(grid_size: int, deviation: float) -> None:
    """Random splines, on the panels of the table and on these cut in four."""
    parameters = torch.randn(50, grid_size + 3, dtype=torch.float64)
    table = spline_table(parameters, grid_size=grid_size, sd=deviation)
    density = LogSpline(table, torch.linspace(0, 1, grid_size + 1, dtype=torch.float64))
    panels = density._table.panels
    for _ in range(2):
        panels = panels.cut(0.5 * (panels.edges[..., 1:] + panels.edges[..., :-1]))
    fine = Table(panels, density._node_potentials(panels))
    u = torch.rand(200, 50, dtype=torch.float64)
    assert (fine.below(density.icdf(u)) - u).abs().max() < PROBABILITY


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@every_energy
def test_everything_is_finite(hard: Hard, dtype: torch.dtype) -> None:
    if dtype == torch.float32 and hard.variance < 1e-12:
        pytest.skip("no two numbers of single precision lie within a deviation")
    table = hard.table.to(dtype).requires_grad_()
    density = LogSpline(table, torch.linspace(0, 1, len(table) + 1, dtype=dtype))
    z = density.rsample((100,))
    total = z.sum() + density.log_prob(z.detach()).sum() + density.mean + density.entropy()
    (gradient,) = torch.autograd.grad(total + density.variance, table)
    assert total.isfinite()
    assert gradient.isfinite().all()


def test_memory_is_linear_in_draws() -> None:
    """No array of draws times panels: a million draws of 400 panels would be 3 gigabytes."""
    density = LogSpline(torch.zeros(200, 1), torch.linspace(0, 1, 201))
    with torch.profiler.profile(profile_memory=True) as profile:
        density.sample((1_000_000,))
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert largest < 20 * 8 * 1_000_000
