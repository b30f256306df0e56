"""Modes of densities whose maxima are known."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Exponential, LogNormal, Normal, Uniform

from lvkam_pyro.distributions.energy import EnergyDistribution
from lvkam_pyro.distributions.mixture import EnergyMixture
from lvkam_pyro.modules.modes import find_modes

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
    """Two equal normals merge when they are less than two standard deviations no_handlers."""
    centres = torch.tensor([-0.5, 0.5], dtype=torch.float64) * distance
    parts = build(partial(normal_energy, centres), Uniform(-8.0, 8.0), (-8.0, 8.0))
    assert len(find_modes(EnergyMixture(parts))[0]) == count
