"""MALA, exchange and the ladder: invariance, exact moments, bookkeeping."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor
from torch.nn.functional import logsigmoid

import lvkam_pyro as lv
from lvkam_pyro.ladder.adaptation import Metric, Tuning
from lvkam_pyro.ladder.chains import Chains
from lvkam_pyro.ladder.kernel import Kernel
from lvkam_pyro.ladder.ladder import Ladder
from lvkam_pyro.ladder.leapfrog import langevin_step
from lvkam_pyro.ladder.state import GradientState, exchange, exchange_probability
from lvkam_pyro.ladder.target import GradientTarget
from tests.assertions import assert_p_value, assert_within_standard_errors
from tests.tracing import models

SHORT = Ladder(num_temperatures=6, num_chains=8, num_warmup=30, num_samples=20, thinning=1)


def bind(model: object, x: Tensor) -> GradientTarget:
    return GradientTarget(bind(model, x))


def random_state(shape: tuple[int, int, int, int]) -> GradientState:
    vectors, numbers = torch.randn(3, *shape), torch.randn(2, *shape[:3])
    return GradientState(vectors[0], numbers[0], numbers[1], vectors[1], vectors[2])


def test_exchange_leaves_the_product_of_tempered_laws_invariant() -> None:
    # Two states 0 and 1 with log likelihoods l, temperatures 0.2 and 0.9: detailed balance.
    log_likelihood, low, high = torch.tensor([-0.3, 1.1], dtype=torch.float64), 0.2, 0.9
    law_low = (low * log_likelihood).softmax(0)
    law_high = (high * log_likelihood).softmax(0)
    joint = law_low[:, None] * law_high[None, :]
    gap = torch.tensor(high - low)
    accept = exchange_probability(log_likelihood[:, None], log_likelihood[None, :], gap)
    flow = joint * accept
    torch.testing.assert_close(flow, flow.T)


@pytest.mark.parametrize("num_temperatures", [2, 5, 6])
@pytest.mark.parametrize("first", [0, 1])
def test_exchange_moves_whole_states_and_leaves_refused_ones(
    num_temperatures: int, first: int
) -> None:
    state = random_state((num_temperatures, 4, 3, 2))
    temperatures = torch.linspace(0, 1, num_temperatures)
    after, probability = exchange(state, temperatures, first=first)
    assert probability.shape == ((num_temperatures - first) // 2, 4, 3)
    moved = after.log_likelihood != state.log_likelihood
    for mine, theirs in zip(after.tensors, state.tensors, strict=True):
        assert torch.equal(mine[~moved], theirs[~moved])
    for lower in range(first, num_temperatures - 1, 2):
        pair = moved[lower]
        assert torch.equal(moved[lower], moved[lower + 1])
        for mine, theirs in zip(after.tensors, state.tensors, strict=True):
            assert torch.equal(mine[lower][pair], theirs[lower + 1][pair])
            assert torch.equal(mine[lower + 1][pair], theirs[lower][pair])


def test_an_impossible_state_falls_to_the_prior() -> None:
    lowest = torch.tensor(-torch.inf)
    assert exchange_probability(torch.tensor(0.0), lowest, torch.tensor(0.5)) == 1
    assert exchange_probability(lowest, torch.tensor(0.0), torch.tensor(0.5)) == 0
    assert exchange_probability(lowest, lowest, torch.tensor(0.5)) == 0


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0])
def test_mala_leaves_the_tempered_posterior_invariant(temperature: float) -> None:
    # z ~ N(0, 1), x ~ N(z, 1/4): the power posterior is normal.
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    target = bind(model, torch.tensor([1.0]))
    precision = 1 + 4 * temperature
    exact = dist.Normal(4 * temperature / precision, precision**-0.5)
    state = target.state_at(exact.sample((1, 20_000, 1, 1)))
    tuning = Tuning(Metric(torch.ones(1, 1, 1, 1)), torch.ones(1, 1))
    stacked = torch.full((1, 1, 1), temperature)
    for _ in range(3):
        state, probability = langevin_step(state, stacked, tuning, target.state_at)
    assert probability.mean() < 0.95
    uniform = exact.cdf(state.position.flatten()).numpy()
    assert_p_value(kstest(uniform, "uniform").pvalue)


def test_moves_out_of_the_support_are_refused() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.factor("window", torch.where(z > 0, 0.0, -torch.inf) + 0.0 * x)

    samples = SHORT.sample(model, torch.zeros(2))
    assert (samples.latents["z"] > 0).all()
    assert samples.log_likelihood[..., 1:, :].max() == 0
    assert not samples.log_likelihood.isnan().any()


def test_constraints_have_their_jacobian() -> None:
    x = torch.tensor([0.2, -0.4])
    target = bind(models.with_bounds, x)
    position = torch.randn(3, 2, 2)
    latents = target.constrain(position)
    values = {name: value.double() for name, value in latents.items()}
    log_prior = dist.LogNormal(0.0, 0.5).log_prob(values["scale"]) - (2 * values["scale"]).log()
    u = position[..., 1].double()
    width = (2 * values["scale"]).log()
    jacobian = position[..., 0].double() + width + logsigmoid(u) + logsigmoid(-u)
    torch.testing.assert_close(
        target.evaluate(position).log_prior, log_prior + jacobian, atol=1e-4, rtol=1e-4
    )


def test_prior_draws_come_back_through_the_constraints() -> None:
    target = bind(models.with_bounds, torch.zeros(5))
    draws = target.draw_prior(4000)
    latents = target.constrain(draws)
    ratio = (latents["u"] / latents["scale"] + 1) / 2
    assert_p_value(kstest(ratio.flatten().numpy(), "uniform").pvalue)
    assert_p_value(kstest(latents["scale"].log().flatten().numpy() / 0.5, "norm").pvalue)


@pytest.mark.parametrize(
    ("model", "x", "shapes"),
    [
        (models.two_sites, torch.zeros(4), {"a": (), "b": (2,)}),
        (models.with_factor, torch.zeros(4), {"z": ()}),
        (models.with_inner_plate, torch.zeros(4, 3), {"z": ()}),
        (models.with_inner_latents, torch.zeros(4, 3), {"z": (2,), "e": (3,)}),
        (models.with_bounds, torch.zeros(4), {"scale": (), "u": ()}),
        (models.with_plate_total, torch.zeros(4), {"z": ()}),
        (models.with_fixed_plate, torch.zeros(4), {"z": ()}),
    ],
)
def test_shapes_of_many_models(
    model: object, x: Tensor, shapes: dict[str, tuple[int, ...]]
) -> None:
    samples = SHORT.sample(model, x)
    assert samples.log_likelihood.shape == (20, 8, 6, 4)
    assert samples.log_likelihood.dtype == torch.float64
    assert {name: draws.shape for name, draws in samples.latents.items()} == {
        name: (20, 8, 4, *shape) for name, shape in shapes.items()
    }
    assert samples.acceptance.shape == samples.rhat.shape == samples.ess.shape == (6, 4)
    assert samples.swap_rate.shape == (5, 4)
    assert (samples.swap_rate > 0).all()


def test_the_posterior_of_an_ill_conditioned_model() -> None:
    model = models.LinearGaussian(6, 8, scale=0.1)
    left, _, right = torch.linalg.svd(model.weight, full_matrices=False)
    model.weight = left @ torch.diag(torch.logspace(0.5, -1.5, 6)) @ right
    x = model.sample(5)
    samples = Ladder(num_samples=60).sample(model, x)
    assert samples.rhat.max() < 1.05
    assert (samples.acceptance[1:] - 0.574).abs().max() < 0.1
    precision = torch.eye(6) + model.weight.T @ model.weight / 0.01
    exact = torch.linalg.solve(precision, model.weight.T @ x.T / 0.01).T
    chains = samples.latents["z"].mean(0)
    error = chains.std(0) / samples.num_chains**0.5
    assert_within_standard_errors(chains.mean(0), exact, error)
    variance = samples.latents["z"].var((0, 1))
    expected = precision.inverse().diagonal().expand_as(variance)
    torch.testing.assert_close(variance, expected, rtol=0.25, atol=0)


def test_many_coordinates_learn_variances_only() -> None:
    model = models.LinearGaussian(40, 5, scale=1.0)
    samples = SHORT.sample(model, model.sample(2))
    assert samples.latents["z"].shape == (20, 8, 2, 40)
    assert (samples.acceptance[1:] > 0.2).all()


def test_double_precision() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=x.dtype), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    samples = SHORT.sample(model, torch.zeros(2, dtype=torch.float64))
    assert samples.latents["z"].dtype == torch.float64


def test_blocks_of_data_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.LinearGaussian(2, 3)
    x = model.sample(5)
    monkeypatch.setattr("lvkam_pyro.ladder.ladder._MAX_ELEMENTS", 6 * 8 * 5 * 2)
    samples = SHORT.sample(model, x)
    assert samples.log_likelihood.shape == (20, 8, 6, 5)
    assert samples.latents["z"].shape == (20, 8, 5, 2)
    whole = SHORT.sample(models.with_plate_total, torch.zeros(5))
    assert whole.data_scale == pytest.approx(20.0)


class Interrupt:
    """A progress counter at which the user presses Ctrl-C."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


KERNELS = {"mala": lv.ladder.MALA(), "gibbs": lv.ladder.GridGibbsKernel()}
every_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


def interrupted_run(kernel: Kernel, after: int) -> int:
    x = torch.zeros(2)
    target = kernel.bind(bind(models.two_sites, x))
    temperatures = torch.linspace(0, 1, 3, dtype=torch.float64)
    start = kernel.start(target, temperatures, 4)
    chains = Chains(kernel, target, temperatures, start, num_warmup=10)
    interrupt = Interrupt(after)
    chains.warm_up(interrupt)
    record = chains.keep(20, tick=interrupt)
    assert len(chains.latents(record)["a"]) == len(record.log_likelihood)
    return len(record.log_likelihood)


@every_kernel
def test_an_interrupt_keeps_what_was_drawn(kernel: Kernel) -> None:
    assert interrupted_run(kernel, 10 + 7) == 7


@every_kernel
@pytest.mark.parametrize("after", [5, 12])
def test_an_early_interrupt_goes_on(kernel: Kernel, after: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted_run(kernel, after)


def test_equal_ladders_compare_equal() -> None:
    assert Ladder() == Ladder()
    assert Ladder() != Ladder(num_chains=8)


def own_subsample(x: Tensor) -> None:
    with pyro.plate("data", len(x), subsample_size=min(2, len(x))) as index:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x[index])


def scaled_prior(x: Tensor) -> None:
    with pyro.plate("data", len(x)), pyro.poutine.scale(scale=0.5):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def no_latent(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)


WRONG = {
    "no latent": (no_latent, torch.zeros(3), "no latent site"),
    "masked latent": (models.with_obs_mask, torch.ones(3, 2), "'x_unobserved' has a mask"),
    "scaled prior": (scaled_prior, torch.zeros(3), "'z' has a mask, a scale"),
    "own subsample": (own_subsample, torch.zeros(3), "'data' has size 2"),
    "not finite": (models.two_sites, torch.tensor([math.nan]), "1 of 1 values"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_models(case: str) -> None:
    model, x, match = WRONG[case]
    with pytest.raises(ValueError, match=match):
        SHORT.sample(model, x)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"num_chains": 1}, "num_chains >= 2"),
        ({"num_samples": 3}, "num_samples >= 4"),
        ({"num_temperatures": 1}, "num_temperatures >= 2"),
        ({"thinning": 0}, "thinning >= 1"),
    ],
)
def test_wrong_options(options: dict[str, int], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Ladder(**options)
