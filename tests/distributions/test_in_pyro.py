"""Energy densities under Pyro's own inference, against posteriors known by quadrature."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import Tensor

from lvkam_pyro.distributions.logspline import LogSpline, LogSplineMixture
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from tests.assertions import assert_within_standard_errors
from tests.distributions.densities import spline_table

OBSERVED = torch.tensor(0.4)
NOISE = 0.2
POINTS = torch.linspace(0, 1, 9)
COEFFICIENTS = torch.randn(11, generator=torch.Generator().manual_seed(5))
TABLE = spline_table(COEFFICIENTS, sd=1.0)


def prior() -> LogSpline:
    return LogSpline(TABLE, POINTS)


def model(x: Tensor) -> Tensor:
    z = pyro.sample("z", prior())
    pyro.sample("x", dist.Normal(z, NOISE), obs=x)
    return z


def exact_posterior() -> tuple[Tensor, Tensor, Tensor]:
    """Log evidence, mean and standard deviation, on a grid fine enough for any test."""
    z = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    density = LogSpline(TABLE.double(), POINTS.double())
    weights = (density.log_prob(z) + dist.Normal(z, NOISE).log_prob(OBSERVED)).exp()
    evidence = torch.trapezoid(weights, z)
    mean = torch.trapezoid(weights * z, z) / evidence
    variance = torch.trapezoid(weights * (z - mean).square(), z) / evidence
    return evidence.log(), mean, variance.sqrt()


def test_nuts_finds_the_posterior() -> None:
    kernel = NUTS(model, max_tree_depth=5)
    mcmc = MCMC(kernel, num_samples=600, warmup_steps=200, disable_progbar=True)
    mcmc.run(OBSERVED)
    _, mean, deviation = exact_posterior()
    effective = float(mcmc.diagnostics()["z"]["n_eff"])
    draws = mcmc.get_samples()["z"].double()
    assert_within_standard_errors(draws.mean(), mean, deviation / effective**0.5)


def posterior_coefficients() -> Tensor:
    """The posterior's own spline: a normal log likelihood is a parabola, hence a cubic spline."""
    basis = BSplineBasis(grid_size=8).double()
    z = torch.linspace(0, 1, 200, dtype=torch.float64)
    log_likelihood = dist.Normal(z, NOISE).log_prob(OBSERVED)
    parabola = torch.linalg.lstsq(basis(z), log_likelihood[:, None]).solution[:, 0]
    return COEFFICIENTS + parabola.float()


def spline_guide(x: Tensor) -> None:
    coefficients = pyro.param("coefficients", posterior_coefficients)
    pyro.sample("z", LogSpline(BSplineBasis(grid_size=8).to_polynomials(coefficients), POINTS))


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
def test_as_a_guide_it_is_the_posterior(elbo: type) -> None:
    """Under the exact posterior every draw of the bound is the log evidence."""
    bound = -elbo(num_particles=64, vectorize_particles=True).loss(model, spline_guide, OBSERVED)
    log_evidence, _, _ = exact_posterior()
    exact_each = elbo is Trace_ELBO
    # TraceMeanField takes the divergence from the prior in closed form, which leaves noise.
    draws = [-elbo().loss(model, spline_guide, OBSERVED) for _ in range(400)]
    if exact_each:
        assert bound == pytest.approx(float(log_evidence), abs=1e-5)
        assert max(draws) - min(draws) < 1e-4
    else:
        values = torch.tensor(draws, dtype=torch.float64)
        assert_within_standard_errors(values.mean(), log_evidence, values.std() / len(draws) ** 0.5)


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
def test_svi_trains_it_as_a_guide(elbo: type) -> None:
    pyro.param("coefficients", torch.zeros(11))
    loss = elbo(num_particles=64, vectorize_particles=True)
    svi = SVI(model, spline_guide, pyro.optim.Adam({"lr": 0.1}), loss=loss)
    first = mean_and_error(svi)
    for _ in range(300):
        svi.step(OBSERVED)
    last = mean_and_error(svi)
    log_evidence, _, _ = exact_posterior()
    assert last[0] - 5 * last[1] < float(log_evidence)
    # What is left of the gap is below a tenth of what there was, with five errors to spare.
    gap_first, gap_last = (float(log_evidence) - mean for mean, _ in (first, last))
    assert gap_last + 5 * last[1] < 0.1 * (gap_first - 5 * first[1])


def mean_and_error(svi: SVI) -> tuple[float, float]:
    """The bound over 50 evaluations, and its standard error."""
    bounds = torch.tensor([-svi.evaluate_loss(OBSERVED) for _ in range(50)])
    return float(bounds.mean()), float(bounds.std()) / len(bounds) ** 0.5


def test_autoguides_know_the_support() -> None:
    guide = AutoNormal(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), loss=Trace_ELBO(num_particles=8))
    for _ in range(200):
        svi.step(OBSERVED)
    mean, error = mean_and_error(svi)
    log_evidence, _, _ = exact_posterior()
    assert mean < float(log_evidence) + 5 * error
    draw = guide(OBSERVED)["z"]
    assert 0 < draw < 1


def test_predictive_and_plates() -> None:
    mixture = LogSplineMixture(LogSpline(TABLE.expand(3, 2, 8, 4), POINTS))

    def plated(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", mixture.to_event(1))
            pyro.sample("x", dist.Normal(z, NOISE).to_event(1), obs=x)

    x = torch.zeros(7, 3)
    draws = Predictive(plated, num_samples=5)(x)
    assert draws["z"].shape == (5, 7, 3)
    parallel = Predictive(plated, num_samples=5, parallel=True)(x)
    assert parallel["z"].shape == (5, 7, 3)
    trace = pyro.poutine.trace(plated).get_trace(x)
    trace.compute_log_prob()
    assert trace.nodes["z"]["log_prob"].shape == (7,)
