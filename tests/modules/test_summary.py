"""The summary of a prior against closed forms, with its modes."""

import math
from collections.abc import Callable
from dataclasses import astuple
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Exponential, LogNormal, Normal, Uniform

from lvkam_pyro.distributions.energy import EnergyDistribution
from lvkam_pyro.distributions.mixture import EnergyMixture
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.modules.priors import MixturePrior, ProductPrior
from lvkam_pyro.modules.reference import NormalReference
from lvkam_pyro.modules.summary import LatentSummary, PriorSummary, find_modes, summarize


def linear_prior(slope: float, domain: tuple[float, float] = (0.0, 1.0)) -> MixturePrior:
    """The prior exp(slope z) on the domain: a spline's coefficients at its Greville points."""
    basis = BSplineBasis(grid_size=4, degree=1, domain=domain)
    prior = MixturePrior(1, basis=basis)
    with torch.no_grad():
        prior.functions.coefficients.copy_(slope * torch.linspace(*domain, 5).view(1, 5, 1))
    return prior


def test_truncated_exponential() -> None:
    """P = 3 e^{3z} / (e^3 - 1) on [0, 1]."""
    a, normalizer = 3.0, math.expm1(3.0)
    mean = math.exp(a) / normalizer - 1 / a
    second = (math.exp(a) - 2 * mean * normalizer / a) / normalizer
    entropy = math.log(normalizer / a) - a * mean
    (row,) = linear_prior(a).summary().rows
    exact = (0, 0, mean, math.sqrt(second - mean**2), entropy, -entropy)
    numbers = (row.latent, row.component, row.mean, row.sd, row.entropy, row.kl)
    assert numbers == pytest.approx(exact, rel=1e-9)
    assert row.modes == pytest.approx((1.0,))


def test_divergence_from_the_flat_measure_is_the_entropy_that_is_missing() -> None:
    """KL(p || uniform) = log(high - low) - entropy: a wider domain has another entropy."""
    (row,) = linear_prior(0.7, domain=(-2.0, 5.0)).summary().rows
    assert row.kl == pytest.approx(math.log(7.0) - row.entropy, rel=1e-9)


def test_tilted_normal() -> None:
    """A normal tilted by e^{az} on all of its mass is one shifted by a: KL = a^2 / 2."""
    tilted = EnergyDistribution(
        lambda z: 0.5 * z, Normal(0.0, 1.0), breakpoints=torch.linspace(-12, 12, 25).double()
    )
    (row,) = summarize(tilted.expand([1])).rows
    exact = (0.5, 1.0, 0.5 * math.log(2 * math.pi * math.e), 0.125)
    assert (row.mean, row.sd, row.entropy, row.kl) == pytest.approx(exact, rel=1e-7)
    assert row.modes == pytest.approx((0.5,))


@pytest.mark.parametrize(
    "reference",
    [Uniform(0.0, 1.0), Normal(0.3, 2.0), NormalReference(0.3, 2.0)],
    ids=["uniform", "normal", "learned normal"],
)
def test_without_energy_nothing_is_learned(reference: Distribution | NormalReference) -> None:
    prior = MixturePrior(2, num_components=3, reference=reference)
    with torch.no_grad():
        prior.functions.coefficients.zero_()
    for row in prior.summary().rows:
        assert row.kl == pytest.approx(0, abs=1e-8)
        assert row.mean == pytest.approx(float(prior.reference.mean.detach()), rel=1e-6)


def test_summary_has_a_row_for_each_latent_and_leaves_the_prior() -> None:
    prior = ProductPrior(2, num_components=3)
    rows = prior.summary().rows
    assert [(row.latent, row.component) for row in rows] == [
        (latent, component) for latent in (0, 1) for component in (0, 1, 2)
    ]
    assert prior.functions.coefficients.dtype == torch.float32
    means = torch.tensor([row.mean for row in rows]).view(2, 3)
    torch.testing.assert_close(means, prior.densities().mean)


def test_table_says_the_rows() -> None:
    rows = (
        LatentSummary(1, 0, -1e-9, 0.25, (), 0.0, -1e-12),
        LatentSummary(12, 0, 12.3456, 0.012345, (12.3, 12.4), -3.25, 3.25),
    )
    header, *lines = str(PriorSummary(rows)).splitlines()
    assert header.split("  ")[-1] == "modes"
    assert "inner" not in header
    assert lines[0].split() == ["1", "0.0000", "0.2500", "0.0000", "0.0000", "flat"]
    assert lines[1].split() == [
        "12", "12.34560", "0.01235", "-3.2500", "3.2500", "12.30000,", "12.40000",
    ]  # fmt: skip
    assert "inner" in str(ProductPrior(1, num_components=2).summary())


def test_columns_make_a_data_frame() -> None:
    summary = ProductPrior(2, num_components=2).summary()
    frame = summary.to_frame()
    assert list(frame.itertuples(index=False, name=None)) == [astuple(row) for row in summary.rows]


NOTHING = torch.zeros_like


def build(
    energy: Callable[[Tensor], Tensor],
    reference: Distribution | None = None,
    domain: tuple[float, float] = (0.0, 1.0),
    **kwargs: Any,
) -> EnergyDistribution:
    breakpoints = torch.linspace(*domain, 17, dtype=torch.float64)
    return EnergyDistribution(energy, reference, breakpoints=breakpoints, **kwargs)


CASES: dict[str, tuple[EnergyDistribution, list[float]]] = {
    "flat": (build(NOTHING), []),
    "rising": (build(lambda z: 3 * z), [1.0]),
    "falling": (build(lambda z: -3 * z), [0.0]),
    "both ends": (build(lambda z: 40 * (z - 0.5) ** 2), [0.0, 1.0]),
    "far below": (build(lambda z: 30 * (z - 0.2) ** 2), [1.0]),
    "wave": (build(lambda z: torch.sin(12 * z)), [math.pi / 24, 5 * math.pi / 24, 1.0]),
    "spike": (build(lambda z: -(((z - 0.31234) / 2e-3) ** 2)), [0.31234]),
    "normal": (build(NOTHING, Normal(0.25, 2.0), (-1.0, 1.0)), [0.25]),
    "in the tail": (build(NOTHING, Normal(7.0, 0.5)), [7.0]),
    "exponential": (build(NOTHING, Exponential(1.0)), [0.0]),
    "lognormal": (build(NOTHING, LogNormal(0.0, 0.5)), [math.exp(-0.25)]),
}


@pytest.mark.parametrize(("density", "modes"), CASES.values(), ids=CASES)
def test_modes_are_the_maxima(density: EnergyDistribution, modes: list[float]) -> None:
    """To 1e-6: the root of float64's rounding, times a second derivative of order 1."""
    assert find_modes(density)[0] == pytest.approx(modes, abs=1e-6)


def test_a_wiggle_is_no_mode() -> None:
    wiggle = build(lambda z: -9 * (z - 0.3) ** 2 + 4e-3 * torch.sin(200 * z))
    assert find_modes(wiggle)[0] == pytest.approx([0.3], abs=0.05)


def test_each_density_of_a_batch_has_its_own() -> None:
    waves = torch.tensor([0.0, 7.0, 20.0], dtype=torch.float64)
    density = build(lambda z: 3 * torch.cos(waves * z), batch_shape=torch.Size([3]))
    exact = [[], [0.0, 2 * math.pi / 7], [0.0, *(k * math.pi / 10 for k in (1, 2, 3))]]
    for found, expected in zip(find_modes(density), exact, strict=True):
        assert found == pytest.approx(expected, abs=1e-6)


def normal_energy(centres: Tensor, z: Tensor) -> Tensor:
    return -0.5 * (z - centres).square()


@pytest.mark.parametrize(("distance", "count"), [(1.9, 1), (2.5, 2)])
def test_close_components_have_one_mode_between_them(distance: float, count: int) -> None:
    """Two equal normals merge when they are less than two standard deviations apart."""
    centres = torch.tensor([-0.5, 0.5], dtype=torch.float64) * distance
    parts = build(partial(normal_energy, centres), Uniform(-8.0, 8.0), (-8.0, 8.0))
    assert len(find_modes(EnergyMixture(parts))[0]) == count
