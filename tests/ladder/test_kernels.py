"""Every kernel of a ladder under one contract, against linear Gaussian power posteriors."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.ladder.adaptation import Metric, Tuning
from lvkam_pyro.ladder.kernel import GradientKernel, Kernel
from lvkam_pyro.ladder.leapfrog import metropolis_step
from lvkam_pyro.ladder.target import GradientTarget
from lvkam_pyro.tracing.bind import bind
from tests.assertions import assert_p_value, assert_within_standard_errors
from tests.tracing import models

EXACT = {
    "mala": lv.ladder.MALA(),
    "hmc": lv.ladder.HMC(),
    "hmc of one step": lv.ladder.HMC(1),
    "gibbs": lv.ladder.GridGibbsKernel(),
}
KERNELS = {**EXACT, "ula": lv.ladder.ULA()}
TEMPERATURES = torch.tensor([0.0, 0.05, 0.3, 1.0], dtype=torch.float64)


def every_kernel(test: object) -> object:
    return pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)(test)


def short_ladder(kernel: Kernel, **options: int) -> lv.ladder.Ladder:
    counts = {"num_temperatures": 6, "num_chains": 16, "num_warmup": 30, "num_samples": 20}
    return lv.ladder.Ladder(**{**counts, **options}, kernel=kernel)


def power_posterior(
    model: models.LinearGaussian, x: Tensor, temperature: Tensor | float
) -> dist.MultivariateNormal:
    """N(m_t, C_t) with precision I + t W'W / s^2, for each datum."""
    weight, noise = model.weight.double(), model.scale**2
    precision = torch.eye(weight.shape[1]).double() + temperature * weight.T @ weight / noise
    mean = torch.linalg.solve(precision, temperature * weight.T @ x.double().T / noise).T
    return dist.MultivariateNormal(mean, precision_matrix=precision)


GRADIENT = {name: kernel for name, kernel in EXACT.items() if isinstance(kernel, GradientKernel)}


@pytest.mark.parametrize("kernel", GRADIENT.values(), ids=GRADIENT)
def test_moves_leave_every_power_posterior_as_it_is(kernel: GradientKernel) -> None:
    model = models.LinearGaussian(2, 3)
    x = model.sample(2)
    target = GradientTarget(bind(model, x))
    laws = [power_posterior(model, x, t) for t in TEMPERATURES]
    state = target.state_at(torch.stack([law.sample((6000,)) for law in laws]).float())
    # A metric that is far from the truth, and steps that are too long: nothing may depend on them.
    metric = Metric(torch.tensor([[1.0, 0.0], [0.5, 0.7]]).expand(len(laws), 2, 2, 2))
    tuning = Tuning(metric, torch.tensor([0.9, 0.8, 0.6, 0.4])[:, None].expand(-1, 2))
    stacked = TEMPERATURES[:, None, None]
    for _ in range(3):
        proposed, probability = kernel.propose(state, stacked, tuning, target.state_at)
        state = state.where(kernel.accept(probability), proposed)
    assert 0.1 < probability.mean() < 0.95
    for law, draws in zip(laws, state.position.double(), strict=True):
        scores = torch.linalg.solve_triangular(
            law.scale_tril, (draws - law.mean).unsqueeze(-1), upper=False
        ).squeeze(-1)
        error = len(draws) ** -0.5
        assert_within_standard_errors(scores.mean(0), torch.zeros(2, 2).double(), error)
        squares = torch.einsum("cni,cnj->nij", scores, scores) / len(draws)
        identity = torch.eye(2).double().expand(2, 2, 2)
        assert_within_standard_errors(squares, identity, 2**0.5 * error)


@pytest.mark.parametrize("kernel", EXACT.values(), ids=EXACT)
def test_the_thermodynamic_curve_of_a_run_is_exact(kernel: Kernel) -> None:
    """E_t[log p(x|z)] at every temperature, where the mean squared residual is known."""
    model = models.LinearGaussian(2, 3)
    x = model.sample(2)
    samples = short_ladder(kernel, num_chains=48, num_warmup=60, num_samples=40).sample(model, x)
    weight = model.weight.double()
    expected = []
    for temperature in samples.temperatures:
        law = power_posterior(model, x, temperature)
        residual = (x - law.mean @ weight.T).square().sum(-1)
        spread = (weight @ law.covariance_matrix @ weight.T).diagonal(dim1=-2, dim2=-1).sum(-1)
        normal = dist.Normal(0.0, model.scale).log_prob(torch.tensor(0.0)) * 3
        expected.append(normal - (residual + spread) / (2 * model.scale**2))
    chains = samples.log_likelihood.mean(0)
    error = chains.std(0) / len(chains) ** 0.5
    # Few chains measure their own error: Student's t is wider than the normal law by a third.
    assert_within_standard_errors(chains.mean(0), torch.stack(expected), 1.35 * error, extra=2e-3)


@every_kernel
def test_a_run_reports_its_mixing_at_every_temperature(kernel: Kernel) -> None:
    samples = short_ladder(kernel, num_warmup=5).sample(models.two_sites, torch.zeros(3))
    for report in (samples.acceptance, samples.step_size, samples.rhat, samples.ess):
        assert report.shape == (6, 3)
        assert (report > 0).all()
    assert samples.swap_rate.shape == (5, 3)
    assert ((samples.swap_rate > 0) & (samples.swap_rate <= 1)).all()
    assert samples.biased == kernel.biased


@every_kernel
def test_verdicts_name_a_biased_kernel(kernel: Kernel) -> None:
    samples = short_ladder(kernel).sample(models.two_sites, torch.zeros(3))
    for estimator in (lv.evidence.SteppingStone(), lv.evidence.ThermodynamicIntegration()):
        verdict = estimator.estimate_from(samples).verdict
        assert ("3 of 3 data were drawn by a biased kernel" in str(verdict)) == kernel.biased


@pytest.mark.parametrize("kernel", [lv.ladder.MALA(0.7), lv.ladder.HMC(3, 0.8), lv.ladder.ULA(0.9)])
def test_steps_settle_at_the_acceptance_asked_for(kernel: GradientKernel) -> None:
    model = models.LinearGaussian(4, 6)
    samples = short_ladder(kernel, num_warmup=150).sample(model, model.sample(3))
    assert (samples.acceptance[1:].mean(1) - kernel.target_acceptance).abs().max() < 0.08


def test_ula_inflates_a_normal_law_by_its_step() -> None:
    """U' = (1 - e^2/2) u + e xi has the stationary variance 1 / (1 - e^2/4), not 1."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.factor("nothing", 0.0 * z)

    x, step = torch.zeros(1), 1.0
    target = GradientTarget(bind(model, x))
    exact = (1 - step**2 / 4) ** -0.5
    state = target.state_at(exact * torch.randn(1, 20_000, 1, 1))
    for _ in range(4):
        proposed, probability = lv.ladder.ULA().propose(
            state,
            torch.ones(1, 1, 1),
            Tuning(Metric(torch.ones(1, 1, 1, 1)), torch.full((1, 1), step)),
            target.state_at,
        )
        state = state.where(lv.ladder.ULA().accept(probability), proposed)
    variance = state.position.var()
    assert_within_standard_errors(
        variance, torch.tensor(exact**2), exact**2 * torch.tensor(2 / 20_000) ** 0.5
    )


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0])
def test_mala_leaves_the_tempered_posterior_invariant(temperature: float) -> None:
    # z ~ N(0, 1), x ~ N(z, 1/4): the power posterior is normal.
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    x = torch.tensor([1.0])
    target = GradientTarget(bind(model, x))
    precision = 1 + 4 * temperature
    exact = dist.Normal(4 * temperature / precision, precision**-0.5)
    state = target.state_at(exact.sample((1, 20_000, 1, 1)))
    tuning = Tuning(Metric(torch.ones(1, 1, 1, 1)), torch.ones(1, 1))
    stacked = torch.full((1, 1, 1), temperature)
    for _ in range(3):
        state, probability = metropolis_step(state, stacked, tuning, target.state_at)
    assert probability.mean() < 0.95
    uniform = exact.cdf(state.position.flatten()).numpy()
    assert_p_value(kstest(uniform, "uniform").pvalue)


def test_mala_is_hmc_of_one_step_without_jitter() -> None:
    runs = [
        short_ladder(kernel).sample(models.two_sites, torch.zeros(3))
        for kernel in (lv.ladder.MALA(0.6), lv.ladder.HMC(1, 0.6, jitter=0.0))
    ]
    assert torch.equal(runs[0].log_likelihood, runs[1].log_likelihood)
    assert lv.ladder.MALA(0.6) != lv.ladder.HMC(1, 0.6, jitter=0.0)


@pytest.mark.parametrize("kernel", GRADIENT.values(), ids=GRADIENT)
def test_a_trajectory_into_nothing_is_refused(kernel: GradientKernel) -> None:
    x = torch.zeros(1)
    target = GradientTarget(bind(models.two_sites, x))
    state = target.state_at(torch.randn(1, 5, 1, 3))
    huge = Tuning(Metric(torch.eye(3).expand(1, 1, 3, 3)), torch.full((1, 1), 1e38))
    _, probability = kernel.propose(state, torch.ones(1, 1, 1), huge, target.state_at)
    assert torch.equal(probability, torch.zeros_like(probability))


WRONG = [
    (ValueError, lambda: lv.ladder.HMC(0), "num_steps >= 1"),
    (TypeError, lambda: lv.ladder.HMC(2.0), "num_steps to be an integer"),
    (ValueError, lambda: lv.ladder.HMC(target_acceptance=1.0), "between 0 and 1, but got 1.0"),
    (ValueError, lambda: lv.ladder.HMC(jitter=1.0), r"jitter in \[0, 1\), but got 1.0"),
    (ValueError, lambda: lv.ladder.MALA(0), "target_acceptance between 0 and 1"),
    (TypeError, lambda: lv.ladder.ULA("fast"), "target_acceptance to be a number"),
]


@pytest.mark.parametrize(("error", "call", "match"), WRONG)
def test_wrong_input(error: type[Exception], call: object, match: str) -> None:
    with pytest.raises(error, match=match):
        call()
