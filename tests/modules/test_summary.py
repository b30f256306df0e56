"""The summary of a prior: closed forms of its densities, and a table that says them."""

import math
from dataclasses import astuple

import pytest
import torch
from torch.distributions import Distribution, Normal, Uniform

from lvkam_pyro.distributions.energy import EnergyDistribution
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.modules.mixture_prior import MixturePrior
from lvkam_pyro.modules.product_prior import ProductPrior
from lvkam_pyro.modules.reference import NormalReference
from lvkam_pyro.modules.summary import LatentSummary, PriorSummary, summarize


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
