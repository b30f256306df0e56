"""Envelopes: true bounds from above, and from below where a squeeze is offered."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Distribution, LogNormal, Normal

from lvkam_pyro.distributions.bounds import BernsteinBound, Bound, CurvatureBound, control_points
from lvkam_pyro.distributions.energy import EnergyDistribution
from lvkam_pyro.distributions.envelope import ConstantEnvelope, Envelope, LogLinearEnvelope
from lvkam_pyro.distributions.logspline import LogSpline
from lvkam_pyro.distributions.reference import is_flat
from lvkam_pyro.distributions.univariate import UnivariateDensity

ENVELOPES = (LogLinearEnvelope, ConstantEnvelope)


def assert_bounds(density: UnivariateDensity, envelope: Envelope, bound: Bound) -> None:
    """The energy lies under the bound and over the squeeze, at 200 points of every piece."""
    pieces = envelope.tabulate(density, bound)
    slot = torch.arange(pieces.log_mass.numel()).repeat_interleave(200)
    slot = slot[pieces.log_mass.flatten()[slot] > -torch.inf]
    z, log_bound, squeeze = pieces.draw(slot)
    row = slot // pieces.log_mass.shape[-1]
    energy = density._log_potential(z.unsqueeze(-1).expand(-1, len(pieces.log_mass)))
    energy = energy.gather(-1, row.unsqueeze(-1)).squeeze(-1)
    if not is_flat(density.reference):
        energy = energy - density.reference.log_prob(z)
    # Energies of a thousand are sums of terms that are a few times larger.
    rounding = 1e-12 * (1 + log_bound.abs().max())
    assert (energy <= log_bound + rounding).all()
    assert (energy >= log_bound + squeeze.log() - rounding).all()
    assert (squeeze > 0).any() == isinstance(bound, BernsteinBound)


@given(st.integers(0, 5), st.integers(1, 6), st.floats(0.01, 200.0), st.integers(0, 1000))
@pytest.mark.parametrize("envelope", ENVELOPES)
def test_polynomials_are_bounded(
    envelope: type[Envelope], degree: int, num_pieces: int, scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    coefficients = scale * torch.randn(3, 2, degree + 1, generator=generator).double()
    density = LogSpline(coefficients, torch.tensor([-1.0, 0.5, 3.0]).double())
    assert_bounds(density, envelope(num_pieces), BernsteinBound())


@given(st.floats(-10.0, 10.0), st.floats(0.1, 20.0), st.integers(1, 6))
@pytest.mark.parametrize("envelope", ENVELOPES)
def test_curved_energies_are_bounded(
    envelope: type[Envelope], height: float, frequency: float, num_pieces: int
) -> None:
    scale = torch.tensor([1.0, 0.5], dtype=torch.float64)
    density = EnergyDistribution(
        lambda z: height * torch.sin(frequency * scale * z),
        breakpoints=torch.linspace(0, 1, 4).double(),
    )
    # One number for each function; the second bound is exact where the sine has its tops.
    curvature = (abs(height) * (frequency * scale).square()).unsqueeze(-1)
    assert_bounds(density, envelope(num_pieces), CurvatureBound(curvature))


@pytest.mark.parametrize("reference", [Normal(0.3, 0.8), LogNormal(0.0, 0.5)], ids=str)
def test_other_references_and_their_tails_are_bounded(reference: Distribution) -> None:
    coefficients = torch.randn(4, 3, 4, dtype=torch.float64)
    low = -1.0 if isinstance(reference, Normal) else 0.0
    density = LogSpline(coefficients, torch.linspace(low, 2.0, 4).double(), reference)
    envelope = ConstantEnvelope()
    assert_bounds(density, envelope, BernsteinBound())
    # The pieces' masses are an upper bound of the normaliser, tails included.
    log_mass = envelope.tabulate(density, BernsteinBound()).log_mass.logsumexp(-1)
    assert (log_mass > density._table.log_normalizer).all()
    assert (log_mass < density._table.log_normalizer + 1).all()


def test_control_points_are_those_of_de_casteljau() -> None:
    coefficients = torch.randn(2, 5, dtype=torch.float64)
    rows = list(control_points(coefficients, 1).unbind(-1))
    halves: tuple[list[Tensor], list[Tensor]] = ([], [])
    while rows:
        halves[0].append(rows[0])
        halves[1].insert(0, rows[-1])
        rows = [(a + b) / 2 for a, b in pairwise(rows)]
    expected = torch.stack([torch.stack(half, -1) for half in halves], 1).flatten(0, 1)
    torch.testing.assert_close(control_points(coefficients, 2), expected)


def test_more_pieces_are_never_worse() -> None:
    density = LogSpline(torch.randn(10, 3, 4).double(), torch.linspace(-1, 4, 4).double())
    for envelope in ENVELOPES:
        masses = [
            envelope(n).tabulate(density, BernsteinBound()).log_mass.logsumexp(-1)
            for n in (1, 2, 4, 64)
        ]
        assert all((a >= b - 1e-12).all() for a, b in pairwise(masses))
        assert (masses[-1] - density._table.log_normalizer).max() < 0.1


def test_what_cannot_be_bounded_is_refused() -> None:
    callable_form = EnergyDistribution(torch.sin)
    spline = LogSpline(torch.zeros(1, 4), torch.tensor([0.0, 1.0]))
    with pytest.raises(TypeError, match=r"got EnergyDistribution.*CurvatureBound"):
        LogLinearEnvelope().tabulate(callable_form, BernsteinBound())
    with pytest.raises(TypeError, match=r"Expected an EnergyDistribution, got LogSpline"):
        LogLinearEnvelope().tabulate(spline, CurvatureBound(1.0))
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite and at least 0"):
            CurvatureBound(wrong)
    on_normal = EnergyDistribution(torch.sin, Normal(0.0, 1.0))
    with pytest.raises(ValueError, match=r"uniform reference.*ConstantEnvelope"):
        LogLinearEnvelope().tabulate(on_normal, CurvatureBound(1.0))
    with pytest.raises(ValueError, match="num_pieces >= 1, but got 0"):
        ConstantEnvelope(0)
