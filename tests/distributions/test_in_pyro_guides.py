"""Autoguides and reparameterisations of Pyro on the densities."""

from collections.abc import Callable
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.transforms import CumulativeDistributionTransform
from pyro.infer import SVGD, SVI, RBFSteinKernel, Trace_ELBO
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoGuide,
    AutoIAFNormal,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalMessenger,
    AutoStructured,
    init_to_median,
)
from pyro.infer.reparam import (
    AutoReparam,
    NeuTraReparam,
    StructuredReparam,
    TransformReparam,
)
from scipy.stats import kstest
from torch import Tensor
from torch.distributions import biject_to

from tests.assertions import assert_p_value
from tests.distributions.pyro_models import (
    NOISE,
    OBSERVED,
    OWN_SHAPES,
    density,
    exact_posterior,
    grid,
    log_joint,
    model,
    parameters,
)

names = pytest.mark.parametrize("name", OWN_SHAPES)
SUPPORTS = ["spline mixture", "wave on lognormal", "spline on normal"]
"""One density of each support: the interval, the half-line, the real line."""
GUIDES: dict[str, Callable[..., AutoGuide]] = {
    "AutoNormal": AutoNormal,
    "AutoDiagonalNormal": AutoDiagonalNormal,
    "AutoMultivariateNormal": AutoMultivariateNormal,
    "AutoLowRankMultivariateNormal": partial(AutoLowRankMultivariateNormal, rank=1),
    "AutoIAFNormal": partial(AutoIAFNormal, hidden_dim=[8], num_transforms=1),
    "AutoStructured": partial(AutoStructured, conditionals="normal", dependencies="linear"),
    "AutoNormalMessenger": AutoNormalMessenger,
}


def program(name: str) -> Callable[[], Tensor]:
    theta = parameters(name).detach()
    return lambda: model(name, theta)


def trained(guide: AutoGuide, target: Callable[[], Tensor], num_steps: int) -> SVI:
    # One call first: a lazy guide has no parameters before.
    guide()
    loss = Trace_ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=1)
    svi = SVI(target, guide, pyro.optim.Adam({"lr": 0.03}), loss=loss)
    for _ in range(num_steps):
        svi.step()
    return svi


def check_autoguide(kind: str, name: str) -> None:
    """Its bound rises, stays below the evidence, and its draws lie in the support."""
    target = program(name)
    guide = GUIDES[kind](target)
    svi = trained(guide, target, num_steps=1)
    before = torch.tensor([-svi.evaluate_loss() for _ in range(20)], dtype=torch.float64)
    svi = trained(guide, target, num_steps=60)
    after = torch.tensor([-svi.evaluate_loss() for _ in range(20)], dtype=torch.float64)
    evidence = exact_posterior(name, parameters(name).detach())[0].sum()
    assert after.mean() < evidence + 5 * after.std() / len(after) ** 0.5
    assert after.median() > before.median() or evidence - after.median() < 0.3
    z = pyro.poutine.trace(guide).get_trace().nodes["z"]["value"]
    assert density(name, parameters(name)).support.check(z).all()


@pytest.mark.parametrize("kind", GUIDES)
def test_autoguides_train_below_the_evidence(kind: str) -> None:
    check_autoguide(kind, "spline mixture")


@pytest.mark.slow
@names
@pytest.mark.parametrize("kind", GUIDES)
def test_every_autoguide_on_every_density(kind: str, name: str) -> None:
    check_autoguide(kind, name)


# Each has a single mode, inside the support.
@pytest.mark.parametrize("name", ["wave on lognormal", "spline on normal"])
def test_delta_guide_finds_the_mode(name: str) -> None:
    theta = parameters(name).detach()
    guide = AutoDelta(program(name), init_loc_fn=init_to_median(num_samples=200))
    svi = SVI(program(name), guide, pyro.optim.Adam({"lr": 0.02}), loss=Trace_ELBO())
    for _ in range(250):
        svi.step()
    found = log_joint(name, theta, guide.median()["z"])
    # What is left is what Adam's last steps swing by.
    assert (log_joint(name, theta, grid(density(name, theta))).amax(0) - found).max() < 1e-3


@pytest.mark.parametrize("name", SUPPORTS)
def test_laplace_approximation_has_the_curvature_at_the_mode(name: str) -> None:
    theta = parameters(name).detach()
    guide = AutoLaplaceApproximation(program(name), init_loc_fn=init_to_median(num_samples=200))
    svi = SVI(program(name), guide, pyro.optim.Adam({"lr": 0.02}), loss=Trace_ELBO())
    for _ in range(250):
        svi.step()
    normal = guide.laplace_approximation().get_posterior()
    to_support = biject_to(density(name, theta).support)

    def log_density(y: Tensor) -> Tensor:
        z = to_support(y)
        return log_joint(name, theta, z) + to_support.log_abs_det_jacobian(y, z)

    mode, step = guide.loc.detach(), 1e-4
    around = torch.stack([log_density(mode + shift * step) for shift in (-1, 0, 1)])
    curvature = (around[0] - 2 * around[1] + around[2]) / step**2
    torch.testing.assert_close(
        normal.covariance_matrix, torch.diag(-1 / curvature).to(mode), rtol=1e-4, atol=1e-6
    )


def copula(name: str, theta: Tensor, x: Tensor = OBSERVED) -> Tensor:
    """The same model whose latent is its own quantile of a uniform."""
    uniform = dist.Uniform(torch.zeros((), dtype=torch.float64), 1.0)
    transform = CumulativeDistributionTransform(density(name, theta)).inv
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.TransformedDistribution(uniform, [transform]))
        pyro.sample("x", dist.Normal(z, NOISE), obs=x)
    return z


@names
def test_quantiles_of_uniforms_have_the_law_and_its_gradients(name: str) -> None:
    theta = parameters(name)
    u = torch.tensor([0.1, 0.45, 0.8], dtype=torch.float64)
    reparameterised = pyro.poutine.reparam(copula, {"z": TransformReparam()})

    def log_prob(u: Tensor, theta: Tensor) -> Tensor:
        fixed = pyro.poutine.condition(reparameterised, {"z_base": u})
        return pyro.poutine.trace(fixed).get_trace(name, theta).log_prob_sum()

    z = density(name, theta).icdf(u)
    expected = dist.Normal(z, NOISE).log_prob(OBSERVED).sum()
    torch.testing.assert_close(log_prob(u, theta), expected)
    inputs = (u.requires_grad_(), theta)
    # Pyro's own checks of gradients do not know undefined ones.
    assert torch.autograd.gradcheck(
        log_prob,
        inputs,
        eps=1e-4,
        atol=1e-4,
        rtol=1e-3,
        check_undefined_grad=False,
        fast_mode=True,
    )
    plain = pyro.poutine.condition(copula, {"z": z.detach()})
    joint = pyro.poutine.trace(plain).get_trace(name, theta).log_prob_sum()
    torch.testing.assert_close(joint, log_joint(name, theta, z.detach()).sum())


def test_gaussian_copula_keeps_the_marginals() -> None:
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    normal = dist.MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance)
    marginal = density("spline mixture", parameters("spline mixture").detach())
    transforms = [
        CumulativeDistributionTransform(dist.Normal(0.0, 1.0)),
        CumulativeDistributionTransform(marginal).inv,
    ]
    z = dist.TransformedDistribution(normal, transforms).sample((5000,))
    for column in z.T:
        assert_p_value(kstest(marginal.cdf(column).numpy(), "uniform").pvalue)
    assert torch.corrcoef(z.T)[0, 1] > 0.5


@pytest.mark.parametrize("name", SUPPORTS)
def test_neural_transport_keeps_the_joint_density(name: str) -> None:
    theta = parameters(name).detach()
    guide = AutoDiagonalNormal(program(name))
    trained(guide, program(name), num_steps=20)
    transport = NeuTraReparam(guide)
    trace = pyro.poutine.trace(transport.reparam(program(name))).get_trace()
    latent = trace.nodes["z_shared_latent"]["value"].detach().requires_grad_()
    z = transport.transform_sample(latent)["z"]
    (slope,) = torch.autograd.grad(z.sum(), latent)
    expected = log_joint(name, theta, z).sum() + slope.abs().log().sum()
    torch.testing.assert_close(trace.log_prob_sum(), expected)


@pytest.mark.parametrize("name", SUPPORTS)
def test_structured_reparameterisation_stays_in_the_support(name: str) -> None:
    guide = AutoStructured(program(name), conditionals="normal", dependencies="linear")
    trained(guide, program(name), num_steps=5)
    reparameterised = StructuredReparam(guide).reparam(program(name))
    z = pyro.poutine.trace(reparameterised).get_trace().nodes["z"]["value"]
    assert density(name, parameters(name)).support.check(z).all()


@names
def test_automatic_reparameterisation_leaves_the_density_alone(name: str) -> None:
    """There is no location and scale to take out: its own rsample is the reparameterisation."""
    trace = pyro.poutine.trace(pyro.poutine.reparam(program(name), AutoReparam())).get_trace()
    assert set(trace.stochastic_nodes) == {"data", "z"}


def test_steins_method_stays_in_the_support() -> None:
    target = program("spline mixture")
    svgd = SVGD(target, RBFSteinKernel(), pyro.optim.Adam({"lr": 0.1}), 50, max_plate_nesting=1)
    for _ in range(30):
        svgd.step()
    z = svgd.get_named_particles()["z"]
    assert z.shape == (50, 3)
    assert ((z > 0) & (z < 1)).all()
