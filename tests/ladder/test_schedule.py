"""Schedules of temperatures: from formulas, from pilots, from the user."""

import itertools
from dataclasses import dataclass, field

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.ladder.schedule import spread_evenly
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.program import BoundProgram
from tests.tracing import models

PILOTS = {
    "equal length": lv.ladder.EqualLengthSchedule(),
    "adaptive": lv.ladder.ConditionalESSSchedule(num_particles=64),
}


def every_pilot(test: object) -> object:
    return pytest.mark.parametrize("pilot", PILOTS.values(), ids=PILOTS)(test)


@given(
    distances=st.lists(st.floats(0, 1e6), min_size=1, max_size=8),
    num_temperatures=st.integers(2, 9),
)
def test_temperatures_divide_any_distances_evenly(
    distances: list[float], num_temperatures: int
) -> None:
    given_ones = torch.linspace(0, 1, len(distances) + 1).double() ** 3
    lengths = torch.tensor(distances).double()
    found = torch.tensor(spread_evenly(given_ones, lengths, num_temperatures)).double()
    assert (found[0], found[-1], len(found)) == (0, 1, num_temperatures)
    assert (found.diff() > 0).all()
    speed = lengths / given_ones.diff()
    middles = (torch.arange(20_000).double() + 0.5) / 20_000
    place = torch.searchsorted(given_ones, middles).clamp(1, len(distances)) - 1
    shares = torch.stack(
        [
            (speed[place] * ((middles > low) & (middles <= high))).mean()
            for low, high in itertools.pairwise(found)
        ]
    )
    # A cell of the sum is a twenty-thousandth, at the fastest speed; two cells are cut by each end.
    limit = 4 * float(speed.max()) / 20_000 + 1e-6 * float(lengths.sum())
    assert (shares - shares.mean()).abs().max() <= limit


def exact_lengths(model: models.LinearGaussian, x: Tensor, temperatures: Tensor) -> Tensor:
    """The mean over the data of the thermodynamic length between temperatures, `(T - 1,)`.

    l = c - |x - W z|^2 / 2 s^2 with z ~ N(m, C): Var l = (tr(AC AC) / 2 + g' C g), A = W'W / s^2,
    g the gradient at m.
    """
    weight, noise = model.weight.double(), model.scale**2
    matrix = weight.T @ weight / noise

    def speed(temperature: float) -> Tensor:
        covariance = torch.linalg.inv(torch.eye(len(matrix)).double() + temperature * matrix)
        mean = temperature * x.double() @ weight @ covariance / noise
        slope = (x.double() - mean @ weight.T) @ weight / noise
        product = matrix @ covariance
        quadratic = torch.einsum("ni,ij,nj->n", slope, covariance, slope)
        return ((product @ product).trace() / 2 + quadratic).sqrt().mean()

    lengths = []
    for low, high in itertools.pairwise(temperatures):
        inner = low + (high - low) * (torch.arange(50).double() + 0.5) / 50
        lengths.append(torch.stack([speed(t) for t in inner]).mean() * (high - low))
    return torch.stack(lengths)


@every_pilot
def test_intervals_have_nearly_equal_thermodynamic_length(pilot: lv.ladder.PilotSchedule) -> None:
    model = models.LinearGaussian(3, 5, scale=0.1)
    x = model.sample(6)
    found = torch.tensor(pilot.fit(bind(model, x), 9).temperatures).double()
    lengths = exact_lengths(model, x, found)
    # The best that evenly filled intervals of a coarse, noisy pilot give; by formula it is 20.
    assert lengths.max() / lengths.min() < 2.5
    by_formula = exact_lengths(model, x, lv.ladder.PowerSchedule()(9))
    assert by_formula.max() / by_formula.min() > 10


@dataclass(frozen=True)
class Measured(lv.ladder.Ladder):
    """A pilot whose variances are known: 1 at temperature 0, 4 from 0.5 on."""

    deviations: tuple[float, ...] = field(default=(1.0, 2.0, 2.0))

    def sample(self, program: BoundProgram, **options: object) -> lv.ladder.LadderSamples:
        samples = super().sample(program, **options)
        signs = torch.tensor([1.0, -1.0]).double().repeat(len(samples.log_likelihood) // 2)
        scale = torch.tensor(self.deviations).double()[:, None]
        likelihood = signs[:, None, None, None] * scale.expand_as(samples.log_likelihood)
        return lv.ladder.LadderSamples(**{**vars(samples), "log_likelihood": likelihood})


def test_equal_length_reads_the_deviations() -> None:
    pilot = Measured(
        num_temperatures=3,
        num_chains=2,
        num_warmup=0,
        num_samples=4,
        schedule=lv.ladder.PowerSchedule(exponent=1.0),
    )
    found = lv.ladder.EqualLengthSchedule(pilot).fit(bind(models.two_sites, torch.zeros(3)), 8)
    # Lengths 0.75 and 1: seven parts of a quarter, three below 0.5 and four above.
    expected = [0.0, 1 / 6, 2 / 6, 0.5, 0.625, 0.75, 0.875, 1.0]
    assert found.temperatures == pytest.approx(expected)


@every_pilot
def test_a_ladder_runs_its_pilot_and_counts_it(pilot: lv.ladder.PilotSchedule) -> None:
    x = torch.tensor([0.0, 1.0])
    counts = {"num_temperatures": 5, "num_chains": 4, "num_warmup": 2, "num_samples": 4}
    found = pilot.fit(bind(models.two_sites, x), 5, seed=3)
    samples = lv.ladder.Ladder(**counts, schedule=pilot).sample(models.two_sites, x, seed=3)
    fixed = lv.ladder.Ladder(**counts, schedule=found).sample(models.two_sites, x, seed=3)
    assert samples.temperatures.tolist() == list(found.temperatures)
    assert torch.equal(samples.log_likelihood, fixed.log_likelihood)
    cost = samples.num_likelihood_evaluations - fixed.num_likelihood_evaluations
    assert cost == found.num_likelihood_evaluations > 0


@every_pilot
def test_seeds_repeat_and_restore(pilot: lv.ladder.PilotSchedule) -> None:
    before = torch.get_rng_state()
    first, second, other = (
        pilot.fit(bind(models.two_sites, torch.zeros(2)), 5, seed=s) for s in (1, 1, 2)
    )
    assert first == second != other
    assert torch.equal(before, torch.get_rng_state())


@every_pilot
def test_ladders_with_equal_pilots_are_equal(pilot: lv.ladder.PilotSchedule) -> None:
    assert lv.ladder.Ladder(schedule=pilot) == lv.ladder.Ladder(schedule=pilot)
    assert lv.ladder.Ladder(schedule=pilot) != lv.ladder.Ladder()


def impossible_in_part(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.factor("window", torch.where(z > 1, 0.0, -torch.inf) + 0.0 * x)


def flat(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.factor("nothing", 0.0 * z)


@every_pilot
@pytest.mark.parametrize("model", [impossible_in_part, flat])
def test_likelihoods_without_a_variance(pilot: lv.ladder.PilotSchedule, model: object) -> None:
    temperatures = torch.tensor(pilot.fit(bind(model, torch.zeros(2)), 5).temperatures)
    assert (temperatures.diff() > 0).all()
    if model is flat:
        torch.testing.assert_close(temperatures, torch.linspace(0, 1, 5))


def test_many_data_are_sampled_evenly() -> None:
    seen = []

    def model(x: Tensor) -> None:
        seen.append(len(x))
        models.with_deterministic(x)

    lv.ladder.ConditionalESSSchedule(num_particles=8).fit(bind(model, torch.zeros(500)), 4)
    assert set(seen[2:]) == {64}


WRONG = [
    (ValueError, lambda: lv.ladder.FixedSchedule((0.0, 0.5)), "rise from 0 to 1"),
    (ValueError, lambda: lv.ladder.FixedSchedule((0.1, 1.0)), "rise from 0 to 1"),
    (ValueError, lambda: lv.ladder.FixedSchedule((0.0, 0.5, 0.5, 1.0)), "rise from 0 to 1"),
    (ValueError, lambda: lv.ladder.FixedSchedule(()), "rise from 0 to 1"),
    (ValueError, lambda: lv.ladder.FixedSchedule((0.0, 1.0))(3), "num_temperatures = 2.*but got 3"),
    (ValueError, lambda: lv.ladder.ConditionalESSSchedule(ratio=1.0), "ratio between 0 and 1"),
    (TypeError, lambda: lv.ladder.ConditionalESSSchedule(ratio="much"), "ratio to be a number"),
    (ValueError, lambda: lv.ladder.ConditionalESSSchedule(num_particles=1), "num_particles >= 2"),
    (TypeError, lambda: lv.ladder.EqualLengthSchedule().fit(bind(flat, [0.0]), 4), "torch.Tensor"),
    (
        ValueError,
        lambda: lv.ladder.ConditionalESSSchedule().fit(bind(flat, torch.zeros(2)), 1),
        "num_temperatures >= 2",
    ),
    (
        ValueError,
        lambda: lv.ladder.EqualLengthSchedule().fit(bind(flat, torch.zeros(2)), 1),
        "num_temperatures >= 2",
    ),
]


@pytest.mark.parametrize(("error", "call", "match"), WRONG)
def test_wrong_input(error: type[Exception], call: object, match: str) -> None:
    with pytest.raises(error, match=match):
        call()
