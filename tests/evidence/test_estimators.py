"""Every estimator: one contract, exact evidences, calibrated errors, gradients, verdicts."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroParam
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor

from lvkam_pyro.evidence.elbo import ELBO
from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.importance import Importance
from lvkam_pyro.evidence.steppingstone import SteppingStone
from lvkam_pyro.evidence.thermodynamic import ThermodynamicIntegration
from lvkam_pyro.ladder.ladder import Ladder
from tests.assertions import assert_within_standard_errors
from tests.tracing import models

QUICK = Ladder(num_temperatures=12, num_chains=16, num_warmup=40, num_samples=30)
ESTIMATORS: dict[str, Estimator] = {
    "importance": Importance(2048),
    "elbo": ELBO(2048),
    "thermodynamic": ThermodynamicIntegration(QUICK),
    "steppingstone": SteppingStone(QUICK),
}
UNBIASED = {name: estimator for name, estimator in ESTIMATORS.items() if name != "elbo"}
VECTOR = torch.linspace(-1, 1, 4)


class Shifted(PyroModule):
    """x = z + shift + noise, z standard normal: log p(x) = log N(x; shift, 2)."""

    def __init__(self, shift: float = 0.5) -> None:
        super().__init__()
        self.shift = PyroParam(torch.tensor(shift))

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", 2 * len(x), subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + self.shift, 1.0), obs=x)

    def exact(self, x: Tensor) -> Tensor:
        return dist.Normal(self.shift, 2.0**0.5).log_prob(x)


class ShiftedGuide(PyroModule):
    """q(z|x) = N(loc + x / 2, 0.8), near the posterior."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = PyroParam(torch.tensor(0.1))

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", 2 * len(x), subsample_size=len(x)):
            pyro.sample("z", dist.Normal(self.loc + x / 2, 0.8))


def assert_evidence_matches(evidence: Evidence, exact: Tensor) -> None:
    """Within the standard errors, with Student's tail for the replicates' number.

    A t quantile at the suite's rate exceeds the normal one by the factor that is allowed here.
    """
    wider = 1.4 * evidence.standard_error
    discretization = evidence.discretization_error
    extra = torch.zeros_like(wider) if discretization is None else discretization
    assert_within_standard_errors(evidence.log_evidence, exact.double(), wider, extra=extra)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_contract(name: str) -> None:
    """Shapes, types, one seed one result, and nobody's generator moved."""
    model = models.LinearGaussian(1, 2)
    x = model.sample(5)
    before = torch.get_rng_state()
    first, second, third = (ESTIMATORS[name].estimate(model, x, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    for field in ("log_evidence", "standard_error"):
        assert torch.equal(getattr(first, field), getattr(second, field))
        assert getattr(first, field).shape == (5,)
        assert getattr(first, field).dtype == torch.float64
        assert not torch.equal(getattr(first, field), getattr(third, field))
    assert first.verdict.unreliable.shape == (5,)
    assert first.verdict.unreliable.dtype == torch.bool
    assert first.total == pytest.approx(float(first.log_evidence.sum()))
    assert (first.mean, first.mean_standard_error) == pytest.approx(
        (first.total / 5, first.total_standard_error / 5)
    )
    assert first.num_likelihood_evaluations > 0
    assert first.data_hash == second.data_hash
    lower, upper = first.interval(0.9)
    assert (lower < first.log_evidence).all()
    assert (first.log_evidence < upper).all()
    assert not any(value.requires_grad for value in first.diagnostics.values())
    assert first.estimator in str(first)


@pytest.mark.parametrize("name", UNBIASED)
def test_linear_gaussian(name: str) -> None:
    model = models.LinearGaussian(2, 4)
    x = model.sample(20)
    assert_evidence_matches(UNBIASED[name].estimate(model, x, seed=1), model.exact(x))


FORMS: dict[str, tuple[Callable[[Tensor], None], Tensor, Tensor]] = {
    "two sites": (models.two_sites, VECTOR, models.normal_evidence(VECTOR, 4.0)),
    "factor": (models.with_factor, VECTOR, models.normal_evidence(VECTOR, 2.0)),
    "deterministic": (models.with_deterministic, VECTOR, models.normal_evidence(VECTOR, 5.0)),
    "plate total": (models.with_plate_total, VECTOR, models.normal_evidence(VECTOR, 2.0)),
    "fixed plate": (models.with_fixed_plate, VECTOR, models.normal_evidence(VECTOR, 2.0)),
    "inner latents": (
        models.with_inner_latents,
        torch.linspace(-1, 1, 12).reshape(4, 3),
        dist.MultivariateNormal(
            torch.zeros(3), 2 * torch.ones(3, 3) + 2 * torch.eye(3)
        ).log_prob(torch.linspace(-1, 1, 12).reshape(4, 3)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", UNBIASED)
def test_models_of_many_forms(name: str, form: str) -> None:
    model, x, exact = FORMS[form]
    assert_evidence_matches(UNBIASED[name].estimate(model, x, seed=2), exact)


def squared(x: Tensor) -> None:
    """A bimodal, non-Gaussian posterior: x = z^2 + noise."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z**2, 0.5), obs=x)


def mixture(x: Tensor) -> None:
    """A mixture prior: x ~ (N(-2, 1.09) + N(2, 1.09)) / 2."""
    parts = dist.Normal(torch.tensor([-2.0, 2.0]), 0.3)
    prior = dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), parts)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", prior)
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def positive(x: Tensor) -> None:
    """A latent on the unit interval: x ~ N(u, 1)."""
    with pyro.plate("data", len(x)):
        u = pyro.sample("u", dist.Uniform(0.0, 1.0))
        pyro.sample("x", dist.Normal(u, 1.0), obs=x)


def quadrature(density: Callable[[float, float], float], x: Tensor, low: float) -> Tensor:
    high = 1.0 if low == 0 else -low
    values = [quad(density, low, high, args=(float(value),), points=[0.0])[0] for value in x]
    return torch.tensor(values).log()


@pytest.mark.parametrize("name", UNBIASED)
def test_non_gaussian_models_by_quadrature(name: str) -> None:
    x = torch.tensor([-0.5, 0.5, 2.0])
    exact = quadrature(lambda z, v: norm.pdf(z) * norm.pdf(v, z**2, 0.5), x, -8.0)
    assert_evidence_matches(UNBIASED[name].estimate(squared, x), exact)
    exact = quadrature(lambda z, v: norm.pdf(v, z), x, 0.0)
    assert_evidence_matches(UNBIASED[name].estimate(positive, x), exact)


@pytest.mark.parametrize("name", UNBIASED)
def test_a_mixture_prior(name: str) -> None:
    x = torch.tensor([-2.5, 0.0, 1.0])
    parts = dist.Normal(torch.tensor([-2.0, 2.0]), 1.09**0.5).log_prob(x[:, None])
    exact = parts.logsumexp(-1) - torch.tensor(2.0).log()
    assert_evidence_matches(UNBIASED[name].estimate(mixture, x), exact)


@pytest.mark.parametrize("name", ["thermodynamic", "steppingstone"])
def test_ten_correlated_latents(name: str) -> None:
    model = models.LinearGaussian(10, 12, scale=0.1)
    left, _, right = torch.linalg.svd(model.weight, full_matrices=False)
    model.weight = left @ torch.diag(torch.logspace(0.5, -1.5, 10)) @ right
    x = model.sample(8)
    estimator = type(ESTIMATORS[name])(Ladder(num_samples=40))
    evidence = estimator.estimate(model, x)
    assert_evidence_matches(evidence, model.exact(x))
    assert abs(evidence.total - float(model.exact(x).sum())) < 5 * evidence.total_standard_error
    assert evidence.verdict.reliable, str(evidence.verdict)


def z_scores(estimator: Estimator, *, runs: int, num_data: int) -> tuple[Tensor, Tensor]:
    """Errors over standard errors, `(runs, N)` of the data and `(runs,)` of the totals."""
    torch.manual_seed(5)
    model = models.LinearGaussian(2, 4)
    x = model.sample(num_data)
    exact = model.exact(x)
    results = [estimator.estimate(model, x, seed=seed) for seed in range(runs)]
    data = torch.stack([(r.log_evidence - exact) / r.standard_error for r in results])
    totals = [(r.total - float(exact.sum())) / r.total_standard_error for r in results]
    return data, torch.tensor(totals)


@pytest.mark.parametrize("name", UNBIASED)
def test_standard_errors_are_calibrated(name: str) -> None:
    quick = Ladder(num_temperatures=10, num_warmup=40, num_samples=20)
    estimator = {
        "importance": Importance(8192),
        "thermodynamic": ThermodynamicIntegration(quick),
        "steppingstone": SteppingStone(quick),
    }[name]
    data, _ = z_scores(estimator, runs=6, num_data=40)
    # 240 scores, those of importance sampling sharing their particles within a run.
    assert 0.7 < float(data.std()) < 1.4


@pytest.mark.slow
@pytest.mark.parametrize("name", UNBIASED)
def test_standard_errors_are_calibrated_over_many_runs(name: str) -> None:
    ladder = Ladder(num_temperatures=12, num_warmup=60, num_samples=30)
    estimator = {
        "importance": Importance(8192),
        "thermodynamic": ThermodynamicIntegration(ladder),
        "steppingstone": SteppingStone(ladder),
    }[name]
    data, totals = z_scores(estimator, runs=200, num_data=10)
    assert 0.8 < float(data.std()) < 1.3
    assert 0.8 < float(totals.std()) < 1.3
    assert abs(float(totals.mean())) < 5 / 200**0.5


def test_importance_is_unbiased_and_the_bound_is_below() -> None:
    model = models.LinearGaussian(1, 2)
    x = model.sample(3)
    exact = model.exact(x)
    few = Importance(64, num_replicates=2)
    runs = [few.estimate(model, x, seed=seed).log_evidence for seed in range(400)]
    ratios = (torch.stack(runs) - exact).exp()
    assert_within_standard_errors(ratios.mean(0), torch.ones(3).double(), ratios.std(0) / 20)
    assert (ELBO(512).estimate(model, x).log_evidence < exact).all()


def test_the_bound_of_the_exact_posterior_is_the_evidence() -> None:
    model = models.LinearGaussian(2, 4)
    x = model.sample(6)
    evidence = ELBO(64).estimate(model, x, guide=model.posterior)
    torch.testing.assert_close(evidence.log_evidence, model.exact(x), atol=1e-4, rtol=0)


def test_blocks_do_not_change_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.LinearGaussian(2, 4)
    x = model.sample(7)
    monkeypatch.setattr("lvkam_pyro.tracing.program._MAX_VALUES", 3 * 4096)
    evidence = Importance(4096).estimate(model, x)
    assert evidence.log_evidence.shape == (7,)
    assert_evidence_matches(evidence, model.exact(x))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_loss_is_minus_the_scaled_total(name: str) -> None:
    model, guide, x = Shifted(), ShiftedGuide(), torch.linspace(-1, 2, 6)
    evidence = ESTIMATORS[name].estimate(model, x, guide=guide)
    assert evidence.data_scale == 2.0
    loss = ESTIMATORS[name].loss(model, guide, x)
    assert isinstance(loss, float)
    error = torch.tensor(4 * evidence.total_standard_error)
    assert_within_standard_errors(torch.tensor(-loss), torch.tensor(2 * evidence.total), error)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_gradient_is_fishers(name: str) -> None:
    model, guide, x = Shifted(), ShiftedGuide(), torch.linspace(-1, 2, 6)
    estimator = Importance(20_000) if name == "importance" else ESTIMATORS[name]
    module = estimator(model, guide)
    losses = torch.stack([module(x) for _ in range(8)])
    parameter = model.shift_unconstrained
    gradients = torch.stack(
        [torch.autograd.grad(loss, parameter, retain_graph=True)[0] for loss in losses]
    )
    exact = -2 * model.exact(x).sum()
    (expected,) = torch.autograd.grad(exact, parameter)
    if name == "elbo":
        # The gradient of the bound: E_q[x - z - shift].
        expected = -2 * (x - (guide.loc + x / 2) - model.shift).sum().detach()
    error = gradients.std() / 8**0.5
    # Student's tail of 8 runs.
    assert_within_standard_errors(gradients.mean(), expected, 3 * error)


def test_the_bounds_gradient_is_trace_elbos() -> None:
    model, guide, x = Shifted(), ShiftedGuide(), torch.linspace(-1, 2, 6)
    gradients = []
    pyros = pyro.infer.Trace_ELBO(16, vectorize_particles=True, max_plate_nesting=1)
    for loss in (ELBO(16), pyros):
        torch.manual_seed(0)
        value = loss.differentiable_loss(model, guide, x)
        parameters = [*model.parameters(), *guide.parameters()]
        gradients.append([value, *torch.autograd.grad(value, parameters)])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine.detach(), theirs.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_svi_learns_the_model(name: str) -> None:
    model, guide, x = Shifted(-1.0), ShiftedGuide(), torch.linspace(0, 2, 6)
    small = Ladder(num_temperatures=4, num_chains=8, num_warmup=10, num_samples=4)
    estimator = {
        "importance": Importance(256),
        "elbo": ELBO(16),
        "thermodynamic": ThermodynamicIntegration(small),
        "steppingstone": SteppingStone(small),
    }[name]
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.2}), loss=estimator)
    for _ in range(25):
        svi.step(x)
    assert float(model.shift.detach()) == pytest.approx(1.0, abs=0.5)
    assert isinstance(svi.evaluate_loss(x), float)


def test_a_subsample_drawn_by_the_plate_trains_and_has_an_estimate_of_all_data() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), subsample_size=min(2, len(x))) as index:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[index])

    x = torch.linspace(-1, 1, 4)
    assert Importance(512).loss(model, None, x) > 0
    assert_evidence_matches(
        Importance(4096).estimate(model, x), dist.Normal(0.0, 2**0.5).log_prob(x).double()
    )


def test_a_ladder_of_impossible_prior_draws() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.factor("window", torch.where(z > 0, 0.0, -torch.inf) + 0.0 * x)

    x = torch.zeros(2)
    exact = torch.full((2,), 0.5).log()
    assert_evidence_matches(SteppingStone(QUICK).estimate(model, x), exact)
    thermodynamic = ThermodynamicIntegration(QUICK).estimate(model, x)
    assert thermodynamic.verdict.unreliable.all()
    assert "infinite mean log likelihood" in thermodynamic.verdict.reasons[0]


def test_forward_and_reverse_agree() -> None:
    model = models.LinearGaussian(2, 4)
    evidence = SteppingStone(QUICK).estimate(model, model.sample(5))
    gap = evidence.diagnostics["reverse_gap"]
    assert_within_standard_errors(gap, torch.zeros(5).double(), 3 * evidence.standard_error)


def reparameterless_guide(x: Tensor) -> None:
    loc = pyro.param("loc", torch.tensor(0.0))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, 1.0).has_rsample_(False))


WRONG = [
    (ValueError, lambda: Importance(0), "num_particles >= 1"),
    (ValueError, lambda: Importance(num_replicates=1), "num_replicates >= 2"),
    (TypeError, lambda: ELBO(1.5), "num_particles to be an integer"),
    (TypeError, lambda: Importance(64).estimate(models.two_sites, [1.0]), "torch.Tensor"),
    (
        ValueError,
        lambda: ThermodynamicIntegration(QUICK).estimate(models.two_sites, torch.zeros(0)),
        r"shape \(0,\)",
    ),
    (
        ValueError,
        lambda: Importance(64)(models.with_deterministic, reparameterless_guide)(VECTOR),
        "without rsample",
    ),
    (
        ValueError,
        lambda: Importance(64).estimate(models.two_sites, VECTOR).interval(1.0),
        "level between 0 and 1",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("error", "call", "match"), WRONG)
def test_wrong_input(error: type[Exception], call: Callable[[], object], match: str) -> None:
    with pytest.raises(error, match=match):
        call()
