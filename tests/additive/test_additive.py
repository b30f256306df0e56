"""The parts read off an additive model, and which models are none."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.additive.model import AdditiveModel
from lvkam_pyro.additive.tables import AdditiveTables
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind
from tests.ladder.chains import chain, draw_data
from tests.tracing import models


def read(model: Program, x: Tensor) -> AdditiveModel:
    return AdditiveModel.of(bind(model, x))


def correlated_noise(x: Tensor) -> None:
    factor = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        loc = torch.stack([z, z.square()], -1)
        pyro.sample("x", dist.MultivariateNormal(loc, scale_tril=factor), obs=x)


def of_prior_mixture(x: Tensor) -> None:
    """A prior without an inverse distribution function."""
    weights = dist.Categorical(torch.tensor([0.3, 0.7]))
    prior = dist.MixtureSameFamily(weights, dist.Normal(torch.tensor([-2.0, 2.0]), 0.5))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", prior)
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def test_the_functions_are_the_generators() -> None:
    model = chain(4)
    x = draw_data(model, 3)
    additive = read(model, x)
    points = model.prior().sample((20,))
    layer = model.generator.layers[0]
    with torch.no_grad():
        expected = layer.unsummed(points) - layer.unsummed(additive.centre)
    torch.testing.assert_close(additive.functions(points), expected)
    torch.testing.assert_close(additive.noise, model.likelihood.scale.detach())


ADDITIVE = {
    "linear": (models.LinearGaussian(3, 4), torch.randn(5, 4)),
    "two sites": (models.two_sites, torch.randn(5)),
    "deterministic": (models.with_deterministic, torch.randn(5)),
    "subsample of a plate": (models.with_plate_total, torch.randn(5)),
    "correlated noise": (correlated_noise, torch.randn(5, 2)),
    "mixture of normals": (of_prior_mixture, torch.randn(5)),
}


@pytest.mark.parametrize("name", ADDITIVE)
def test_the_nodes_density_is_the_models(name: str) -> None:
    """On nodes, prior masses and projected likelihood say what the model says."""
    model, x = ADDITIVE[name]
    tables = AdditiveTables.of(read(model, x))
    residual, constant = tables.project(bind(model, x))
    nodes = torch.randint(tables.num_nodes, (7, tables.num_coordinates))
    explained = tables.at(tables.values, nodes).sum(-2)
    log_likelihood = constant - (residual - explained[:, None]).square().sum(-1) / 2
    position = tables.at(tables.nodes, nodes)
    means = tables.additive.mean(position)
    torch.testing.assert_close(
        log_likelihood, tables.additive.log_likelihood(bind(model, x), means), rtol=1e-5, atol=1e-4
    )
    assert tables.mass_error.max() < 1e-4
    torch.testing.assert_close(
        tables.log_masses.exp().sum(-1), torch.ones(len(tables.nodes)).double()
    )


def test_nodes_grow_with_the_functions_in_units_of_the_noise() -> None:
    model = chain(3)
    x = draw_data(model, 2)
    counts = []
    for scale in (0.3, 0.03, 0.003):
        model.likelihood.set_scale(torch.full((2,), scale, dtype=torch.float64))
        tables = AdditiveTables.of(read(model, x))
        counts.append(tables.num_nodes)
        steps = tables.values.diff(dim=1).norm(dim=-1)
        # Four Gauss-Legendre nodes of a panel lie up to 1.36 of their mean distance no_handlers.
        assert tables.num_nodes == 1024 or steps.max() < 1.5
    assert counts[0] < counts[1] < counts[2] == 1024


def sigmoid_output(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1).sigmoid(), 0.1), obs=x)


def noise_of_latent(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, z.abs() + 0.1), obs=x)


def correlated_prior(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))
        pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)


def two_observed(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        pyro.sample("y", dist.Normal(z, 1.0), obs=x)


def poisson(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Poisson(z.exp()), obs=x.abs().round())


OTHERS = {
    "sigmoid": (sigmoid_output, "no sum of functions of one latent each"),
    "noise of latent": (noise_of_latent, "log likelihood differs from that of its additive form"),
    "correlated prior": (correlated_prior, "not independent"),
    "two observed sites": (two_observed, "one observed site"),
    "poisson": (poisson, "normal noise"),
    "factor": (models.with_factor, "normal noise"),
    "user's scale": (models.with_user_scale, "log likelihood differs"),
    "inner plate": (models.with_inner_plate, "further plates"),
    "inner latents": (models.with_inner_latents, "further plates"),
    "covariates": (models.with_covariates, "log prior differs"),
    "bounds of another latent": (models.with_bounds, "log prior differs"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_are_refused(name: str) -> None:
    model, message = OTHERS[name]
    shape = (5, 2) if name == "covariates" else (5, 3) if "inner" in name else (5,)
    with pytest.raises(ValueError, match=message):
        read(model, torch.randn(shape))


def test_levels_are_refused_with_the_likelihood_to_take() -> None:
    likelihood = lv.QuantizedLikelihood(3, num_levels=5)
    model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), likelihood)
    with pytest.raises(ValueError, match=r"got QuantizedLogistic.*Give .* a NormalLikelihood"):
        read(model, torch.rand(5, 3))


def test_two_layers_are_refused() -> None:
    model = lv.LVKAM(
        lv.MixturePrior(2), lv.KANGenerator(2, 3, hidden=(4,)), lv.NormalLikelihood(3, scale=0.01)
    )
    with pytest.raises(ValueError, match="one layer of functions"):
        read(model, torch.rand(5, 3))


def test_a_density_near_zero_is_no_reason_to_refuse() -> None:
    """Single precision rounds the terms; near zero their sum is rounded as much as they are."""
    model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 400), lv.NormalLikelihood(400))
    with torch.no_grad():
        model.generator.layers[0].coefficients.mul_(0.05)
    # Somewhere in this range the square and the divisor cancel.
    x = torch.randn(4000, 400) * torch.linspace(0.1, 0.2, 4000)[:, None]
    torch.testing.assert_close(read(model, x).noise, model.likelihood.scale.detach().double())
