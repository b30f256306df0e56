"""Every objective of Pyro on the densities, as prior and as guide, against one-dimensional sums."""

from collections.abc import Callable
from itertools import combinations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import (
    ELBO,
    JitTrace_ELBO,
    JitTraceGraph_ELBO,
    JitTraceMeanField_ELBO,
    RenyiELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    TraceTMC_ELBO,
)
from torch import Tensor

from tests.assertions import assert_within_standard_errors
from tests.distributions.pyro_models import (
    NOISE,
    OBSERVED,
    OWN_SHAPES,
    QUADRATURE,
    density,
    exact_elbo,
    exact_posterior,
    guide,
    model,
    parameters,
)

NUM_REPLICATES = 40
VECTORISED = {"num_particles": 16, "vectorize_particles": True, "max_plate_nesting": 1}
BOUNDS: dict[str, Callable[[], ELBO]] = {
    "Trace": lambda: Trace_ELBO(**VECTORISED),
    "TraceMeanField": lambda: TraceMeanField_ELBO(**VECTORISED),
    "TraceGraph": lambda: TraceGraph_ELBO(**VECTORISED),
    "TraceEnum": lambda: TraceEnum_ELBO(**VECTORISED, strict_enumeration_warning=False),
}
COMPILED: dict[str, tuple[type[ELBO], type[ELBO]]] = {
    "Trace": (JitTrace_ELBO, Trace_ELBO),
    "TraceGraph": (JitTraceGraph_ELBO, TraceGraph_ELBO),
}

names = pytest.mark.parametrize("name", OWN_SHAPES)


Programs = tuple[Callable[[], Tensor], Callable[[], Tensor]]


def programs(name: str) -> Programs:
    """Model and guide whose parameters are in Pyro's store; without arguments, for the tracer."""
    return lambda: model(name, pyro.param("theta")), lambda: guide(name, pyro.param("phi"))


def set_parameters(name: str, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Parameters of prior and guide, in Pyro's store."""
    pyro.clear_param_store()
    theta, phi = parameters(name, seed=seed), parameters(name, (3,), seed=seed + 1)
    return pyro.param("theta", theta), pyro.param("phi", phi)


def loss_and_gradients(elbo: ELBO, pair: Programs) -> tuple[Tensor, Tensor, Tensor]:
    theta, phi = pyro.param("theta"), pyro.param("phi")
    theta.grad = phi.grad = None
    loss = elbo.loss_and_grads(*pair)
    assert theta.grad is not None
    assert phi.grad is not None
    return torch.tensor(loss), theta.grad, phi.grad


def compiles(test: Callable[..., None]) -> Callable[..., None]:
    """A test that traces programs, about which torch warns in two ways."""
    for warning in (
        "ignore::torch.jit.TracerWarning",
        "ignore:.*torch.jit.* is deprecated:DeprecationWarning",
    ):
        test = pytest.mark.filterwarnings(warning)(test)
    return test


@names
@pytest.mark.parametrize("bound", BOUNDS)
def test_bound_and_gradients_are_unbiased(bound: str, name: str) -> None:
    theta, phi = set_parameters(name)
    exact = -exact_elbo(name, theta, phi)
    targets = (exact.detach(), *torch.autograd.grad(exact, (theta, phi)))
    draws = [loss_and_gradients(BOUNDS[bound](), programs(name)) for _ in range(NUM_REPLICATES)]
    for each, target in zip(zip(*draws, strict=True), targets, strict=True):
        replicates = torch.stack(each)
        # What is known in closed form has no spread but rounding.
        error = (replicates.std(0) / len(draws) ** 0.5).clamp(min=1e-300)
        assert_within_standard_errors(replicates.mean(0), target, error, extra=QUADRATURE)


@names
def test_exact_divergence_takes_the_noise_from_the_prior(name: str) -> None:
    """Under TraceMeanField the prior's gradient has no Monte Carlo error at all."""
    set_parameters(name)
    elbo = TraceMeanField_ELBO(max_plate_nesting=1)
    first, second = (loss_and_gradients(elbo, programs(name))[1] for _ in range(2))
    torch.testing.assert_close(first, second)


@compiles
@pytest.mark.parametrize("name", ["wave on normal", "spline", "spline mixture"])
@pytest.mark.parametrize("bound", COMPILED)
def test_compiled_gradients_are_the_plain_ones(bound: str, name: str) -> None:
    """Also at parameters and draws other than those of the trace."""
    compiled, plain = (kind(max_plate_nesting=1) for kind in COMPILED[bound])
    set_parameters(name)
    # The same two programs in every call: Pyro compiles anew for others.
    pair = programs(name)
    loss_and_gradients(compiled, pair)
    with torch.no_grad():
        pyro.param("theta").add_(0.3)
        pyro.param("phi").mul_(-1.0)
    results = []
    for elbo in (compiled, plain):
        pyro.set_rng_seed(7)
        results.append(loss_and_gradients(elbo, pair))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected)


@compiles
def test_compiled_divergence_is_the_plain_one() -> None:
    """Pyro compiles this objective anew in each call, so only what has no draws can be compared."""
    set_parameters("spline mixture")
    pair = programs("spline mixture")
    kinds = (JitTraceMeanField_ELBO, TraceMeanField_ELBO)
    gradients = [loss_and_gradients(kind(max_plate_nesting=1), pair)[1] for kind in kinds]
    torch.testing.assert_close(*gradients)


@names
def test_renyi_bound_with_many_particles_is_the_evidence(name: str) -> None:
    theta, _ = set_parameters(name)
    elbo = RenyiELBO(alpha=0, num_particles=2000, vectorize_particles=True, max_plate_nesting=1)
    draws = torch.tensor([-elbo.loss(*programs(name)) for _ in range(20)])
    exact = exact_posterior(name, theta)[0].sum().detach()
    # The bias of a log of a mean is half its variance, here below that of the 20 draws.
    variance = draws.double().var()
    error = (variance / len(draws)).sqrt()
    assert_within_standard_errors(draws.double().mean(), exact, error, extra=variance)


@names
def test_tensor_monte_carlo_is_unbiased_for_the_evidence(name: str) -> None:
    theta, _ = set_parameters(name)
    infer = {"enumerate": "parallel", "num_samples": 50, "expand": False}

    def program() -> None:
        with pyro.plate("data", len(OBSERVED)):
            z = pyro.sample("z", density(name, theta), infer=infer)
            pyro.sample("x", dist.Normal(z, NOISE), obs=OBSERVED)

    elbo = TraceTMC_ELBO(max_plate_nesting=1)
    log_weights = torch.tensor([-elbo.loss(program, lambda: None) for _ in range(100)])
    exact = exact_posterior(name, theta)[0].sum()
    ratios = (log_weights.double() - exact.detach()).exp()
    assert_within_standard_errors(ratios.mean(), torch.tensor(1.0), ratios.std() / 100**0.5)


@names
def test_subsampled_gradients_are_those_of_the_whole(name: str) -> None:
    """A guide with draws of its own, the same in each subsample."""
    theta = parameters(name)
    z = density(name, parameters(name, (3,), seed=1)).sample()

    def gradient(subsample: Tensor) -> Tensor:
        def program() -> None:
            with pyro.plate("data", len(OBSERVED), subsample=subsample) as chosen:
                pyro.sample("z", density(name, theta), obs=z[chosen])

        loss = -pyro.poutine.trace(program).get_trace().log_prob_sum()
        return torch.autograd.grad(loss, theta)[0]

    pairs = [gradient(torch.tensor(pair)) for pair in combinations(range(3), 2)]
    torch.testing.assert_close(sum(pairs) / len(pairs), gradient(torch.arange(3)))
