"""Draws by rejection: the same density, independent elements, the rate that was announced."""

from collections.abc import Callable

import pyro
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import chisquare, ks_2samp, kstest
from torch import Tensor
from torch.distributions import LogNormal, Normal

from lvkam_pyro.distributions.bounds import CurvatureBound
from lvkam_pyro.distributions.energy import EnergyDistribution
from lvkam_pyro.distributions.envelope import ConstantEnvelope, LogLinearEnvelope
from lvkam_pyro.distributions.logspline import LogSpline, LogSplineMixture
from lvkam_pyro.distributions.mixture import EnergyMixture
from lvkam_pyro.distributions.rejection import AliasTable, RejectionSampler, evaluate_rows
from lvkam_pyro.distributions.univariate import UnivariateDensity
from lvkam_pyro.modules.prior import EnergyPrior
from lvkam_pyro.modules.priors import MixturePrior, ProductPrior
from tests.assertions import TEST_FAILURE_RATE, assert_p_value, assert_within_standard_errors
from tests.distributions.densities import spline_table

POINTS = torch.linspace(0, 1, 9)


def spline(coefficients: Tensor) -> LogSpline:
    return LogSpline(spline_table(coefficients, sd=1.0), POINTS)


def own_breakpoints() -> Tensor:
    """Cells of two rows, `(2, 1, 9)`, that share their ends."""
    return torch.stack([POINTS.square(), POINTS.sqrt()]).unsqueeze(1)


def wave(reference: Normal | None = None) -> EnergyDistribution:
    tilt = torch.tensor([-4.0, 1.0, 6.0])
    points = POINTS if reference is None else 3 * (2 * POINTS - 1)
    return EnergyDistribution(lambda z: tilt * torch.sin(4 * z), reference, breakpoints=points)


def one_peak(height: float) -> Tensor:
    """All coefficients 0 but one: nearly all of the mass in less than a cell."""
    return height * torch.eye(11)[[1, 5, 10]]


LAWS: dict[str, tuple[Callable[[], UnivariateDensity], RejectionSampler]] = {
    "flat": (lambda: spline(torch.zeros(2, 11)), RejectionSampler()),
    "smooth": (lambda: spline(torch.randn(3, 11)), RejectionSampler()),
    "spiky": (lambda: spline(10 * torch.randn(3, 11)), RejectionSampler()),
    "spiky, constant bound": (
        lambda: spline(10 * torch.randn(3, 11)),
        RejectionSampler(ConstantEnvelope(1)),
    ),
    "two modes": (
        lambda: spline(6 * torch.cos(1.3 * torch.arange(11.0)).expand(2, 11)),
        RejectionSampler(LogLinearEnvelope(1)),
    ),
    "nearly degenerate": (lambda: spline(one_peak(300.0)), RejectionSampler()),
    "spline on normal": (
        lambda: LogSpline(spline_table(torch.randn(3, 11)), 6 * POINTS - 3, Normal(0.2, 1.5)),
        RejectionSampler(),
    ),
    "spline on lognormal": (
        lambda: LogSpline(spline_table(torch.randn(3, 11)), 4 * POINTS, LogNormal(0.0, 0.8)),
        RejectionSampler(ConstantEnvelope(8)),
    ),
    "own breakpoints": (
        lambda: LogSpline(spline_table(torch.randn(2, 3, 11)), own_breakpoints()),
        RejectionSampler(),
    ),
    "own breakpoints on normal": (
        lambda: LogSpline(
            spline_table(torch.randn(2, 3, 11)), 6 * own_breakpoints() - 3, Normal(0.2, 1.5)
        ),
        RejectionSampler(),
    ),
    "mixture of own breakpoints": (
        lambda: LogSplineMixture(LogSpline(spline_table(torch.randn(2, 3, 11)), own_breakpoints())),
        RejectionSampler(),
    ),
    "spline mixture": (
        lambda: LogSplineMixture(spline(3 * torch.randn(2, 4, 11)), torch.randn(2, 4)),
        RejectionSampler(),
    ),
    "wave": (wave, RejectionSampler(bound=CurvatureBound(96.0))),
    "wave on normal": (
        lambda: wave(Normal(0.0, 1.0)),
        RejectionSampler(
            ConstantEnvelope(16), CurvatureBound(torch.tensor([64.0, 16, 96])[:, None])
        ),
    ),
    "mixture of waves": (
        lambda: EnergyMixture(wave(), torch.tensor([0.0, 1.0, -1.0])),
        RejectionSampler(bound=CurvatureBound(96.0)),
    ),
}
"""Name to a density and the sampler that it is drawn by."""

each_law = pytest.mark.parametrize("name", LAWS)


def drawn(name: str) -> tuple[UnivariateDensity, UnivariateDensity]:
    """The density drawn by inversion and by rejection."""
    make, sampler = LAWS[name]
    density = make()
    return density, density.drawn_by(sampler)


@each_law
def test_same_law_as_scored(name: str) -> None:
    density, by_rejection = drawn(name)
    u = density.cdf(by_rejection.sample((30_000,))).reshape(30_000, -1)
    for column in u.T:
        assert_p_value(kstest(column.numpy(), "uniform").pvalue)


@pytest.mark.slow
@each_law
def test_same_law_as_by_inversion(name: str) -> None:
    density, by_rejection = drawn(name)
    shape = (1_000_000 // density.batch_shape.numel(),)
    pairs = zip(
        density.sample(shape).reshape(*shape, -1).T,
        by_rejection.sample(shape).reshape(*shape, -1).T,
        strict=True,
    )
    for inverted, accepted in pairs:
        assert_p_value(ks_2samp(inverted.numpy(), accepted.numpy()).pvalue)


@each_law
def test_elements_are_independent(name: str) -> None:
    """Neither rows nor successive draws of a row know of each other, refused or not."""
    density, by_rejection = drawn(name)
    u = density.cdf(by_rejection.sample((40_000,))).reshape(40_000, -1)
    series = torch.stack([u[:-1, 0], u[1:, 0], u[:-1, -1]])
    correlations = torch.corrcoef(series)[0, 1:] if u.shape[1] > 1 else torch.corrcoef(series)[0, 1]
    limit = abs(float(Normal(0.0, 1.0).icdf(torch.tensor(TEST_FAILURE_RATE))))
    assert correlations.abs().max() < limit / len(u) ** 0.5


@each_law
def test_acceptance_rate_is_the_one_announced(name: str) -> None:
    density, _ = drawn(name)
    _, sampler = LAWS[name]
    rate = sampler.acceptance_rate(density)
    assert rate.shape == density.batch_shape
    row = torch.arange(rate.numel()).repeat_interleave(20_000)
    _, accepted = sampler._proposal(density)._draw(row)
    observed = accepted.view(rate.numel(), -1).double().mean(-1)
    # A rate of 1 is met without an exception.
    error = (rate * (1 - rate) / 20_000).sqrt().clamp(min=1e-9).flatten()
    assert_within_standard_errors(observed, rate.flatten().double(), error, extra=1e-5)


def test_rates_of_the_two_envelopes() -> None:
    """The rates that their docstrings promise, on random cubics with coefficients of sd 2."""
    density = LogSpline(spline_table(torch.randn(500, 11)), POINTS)
    for envelope, low, high in ((LogLinearEnvelope(), 0.97, 0.99), (ConstantEnvelope(), 0.8, 0.93)):
        rate = RejectionSampler(envelope).acceptance_rate(density)
        assert low < rate.mean() < high


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_dtype(dtype: torch.dtype) -> None:
    density = LogSpline(spline_table(torch.randn(2, 3, 11).to(dtype)), POINTS.to(dtype))
    density = density.drawn_by(RejectionSampler())
    for shape in ((), (0,), (5,), (4, 2)):
        draws = density.sample(shape)
        assert draws.shape == (*shape, 2, 3)
        assert draws.dtype == dtype
    wide = density.expand((7, 2, 3))
    assert wide.sample((2,)).shape == (2, 7, 2, 3)
    # Every part of an expanded batch has its own draws.
    assert len(wide.sample().unique()) == 42


def test_draws_of_more_than_a_block_keep_their_rows() -> None:
    tilt = torch.tensor([[[0.0, -30.0]], [[0.0, 30.0]]])
    density = LogSpline(tilt, torch.tensor([0.0, 1.0])).drawn_by(RejectionSampler())
    means = density.sample((200_000,)).mean(0)
    assert_within_standard_errors(means, density.mean, (density.variance / 200_000).sqrt())


def test_parameters_changed_in_place_change_the_draws() -> None:
    coefficients = torch.zeros(1, 2, requires_grad=True)
    density = LogSpline(coefficients, torch.tensor([0.0, 1.0])).drawn_by(RejectionSampler())
    density.rsample((10,)).sum().backward()
    with torch.no_grad():
        coefficients[0, 1] = 40.0
    assert density.rsample((1000,)).min() > 0.5
    density.rsample((10,)).sum().backward()
    assert coefficients.grad.isfinite().all()


def test_a_site_of_a_pyro_model() -> None:
    density = spline(torch.randn(3, 11)).drawn_by(RejectionSampler()).to_event(1)
    with pyro.plate("data", 4), pyro.poutine.trace() as trace:
        z = pyro.sample("z", density)
    assert z.shape == (4, 3)
    torch.testing.assert_close(trace.trace.log_prob_sum(), density.log_prob(z).sum())


@pytest.mark.parametrize("kind", [MixturePrior, ProductPrior])
def test_a_prior_draws_by_its_sampler(kind: type[EnergyPrior]) -> None:
    calls = []

    def sampler(density: UnivariateDensity, shape: torch.Size) -> Tensor:
        calls.append(shape)
        return RejectionSampler()(density, shape)

    prior = kind(3, num_components=2, sampler=sampler)
    z = prior().rsample((5,))
    assert calls == [z.shape]
    z.sum().backward()
    assert prior.functions.coefficients.grad.any()


@pytest.mark.slow
def test_same_law_after_training() -> None:
    prior = MixturePrior(2, num_components=3)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.05)
    data = torch.distributions.Beta(0.6, 2.0).sample((2000, 2)).clamp(1e-4, 1 - 1e-4)
    for _ in range(1000):
        optimizer.zero_grad()
        prior().log_prob(data).mean().neg().backward()
        optimizer.step()
    with torch.no_grad():
        density = prior.densities()
        z = density.drawn_by(RejectionSampler()).sample((500_000,))
        u = density.cdf(z)
    for column in u.T:
        assert_p_value(kstest(column.numpy(), "uniform").pvalue)


def test_rows_are_evaluated_in_any_order() -> None:
    row = torch.tensor([2, 0, 2, 2, 5])
    z = torch.rand(5)
    slopes = torch.arange(6.0).view(2, 3)
    got = evaluate_rows(lambda z: slopes * z, row, z, slopes.shape)
    torch.testing.assert_close(got, row * z)


def test_a_curvature_that_is_no_bound_is_found_out() -> None:
    density = EnergyDistribution(lambda z: 4 * torch.sin(9 * z), breakpoints=POINTS[::8])
    sampler = RejectionSampler(LogLinearEnvelope(1), CurvatureBound(1.0))
    with pytest.raises(ValueError, match=r"exceeds it by .*curvature given is not a bound"):
        density.drawn_by(sampler).sample((10_000,))


def test_a_hopeless_envelope_is_refused() -> None:
    sampler = RejectionSampler(ConstantEnvelope(1))
    with pytest.raises(ValueError, match=r"accepts more than 0.001.*num_pieces=16"):
        spline(one_peak(1e5)).drawn_by(sampler).sample()


def encoded_probabilities(table: AliasTable) -> Tensor:
    """What a draw from the table has to follow: the formula of its docstring."""
    kept, given_away = table.threshold.flatten(), (1 - table.threshold).flatten()
    total = kept.index_add(0, table.alias.flatten(), given_away)
    return total.view_as(table.threshold) / table.threshold.shape[-1]


# Whole numbers make ties between prefix sums, where a column is used up exactly.
weights = st.one_of(st.integers(0, 3).map(float), st.floats(0, 1), st.floats(0, 1e6))


@example([1.0, 0.0, 3.0, 0.0, 1.0])
@given(st.lists(weights, min_size=1, max_size=30).filter(lambda w: sum(w) > 1e-3))
def test_table_encodes_the_probabilities(row: list[float]) -> None:
    rows = torch.tensor([row, row[::-1]], dtype=torch.float64)
    table = AliasTable.of(rows)
    assert ((table.threshold >= 0) & (table.threshold <= 1)).all()
    expected = rows / rows.sum(-1, keepdim=True)
    # Prefix sums of 30 columns of mean 1 are exact to 30 roundings.
    assert (encoded_probabilities(table) - expected).abs().max() < 30 * 2.3e-16


def test_draws_follow_the_probabilities() -> None:
    rows = torch.tensor([[1.0, 2.0, 0.0, 5.0, 0.5], [1.0, 1.0, 1.0, 1.0, 4.0]]).double()
    table = AliasTable.of(rows)
    row = torch.arange(2).repeat(100_000)
    slot = table.draw(row)
    assert (slot // 5 == row).all()
    counts = torch.bincount(slot, minlength=10).view(2, 5)
    assert counts[0, 2] == 0
    for observed, law in zip(counts, rows / rows.sum(-1, keepdim=True), strict=True):
        expected = (observed.sum() * law)[law > 0]
        assert_p_value(chisquare(observed[law > 0].numpy(), expected.numpy()).pvalue)


def test_the_largest_uniform_number_in_float32_stays_in_the_table() -> None:
    threshold, alias = AliasTable.of(torch.ones(1, 80).double())
    table = AliasTable(threshold.float(), alias)
    assert table.draw(torch.zeros(3_000_000, dtype=torch.long)).max() == 79
