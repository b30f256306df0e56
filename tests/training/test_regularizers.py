"""Sparsity: the published penalty, on the generator alone, and it empties functions."""

import math

import pytest
import torch

from lvkam_pyro.kan.network import KAN
from lvkam_pyro.kan.regularization import edge_entropy, edge_l1
from lvkam_pyro.likelihoods.normal import NormalLikelihood
from lvkam_pyro.lvkam import LVKAM
from lvkam_pyro.modules.generators import KANGenerator
from lvkam_pyro.modules.priors import MixturePrior
from lvkam_pyro.training.regularizers import Sparsity


def make_model() -> LVKAM:
    return LVKAM(MixturePrior(3), KANGenerator(3, 5, hidden=[4]), NormalLikelihood(5))


def test_is_the_weighted_sum_of_the_generators_terms() -> None:
    model = make_model()
    l1, entropy = edge_l1(model.generator), edge_entropy(model.generator)
    torch.testing.assert_close(Sparsity(l1=2.0, entropy=3.0)(model), 2 * l1 + 3 * entropy)
    torch.testing.assert_close(Sparsity(l1=2.0, entropy=0.0)(model), 2 * l1)


def test_prior_is_left_alone() -> None:
    model = make_model()
    Sparsity()(model).backward()
    assert model.prior.functions.coefficients.grad is None
    assert all(p.grad is not None for p in model.generator.parameters())


def test_model_without_a_network_costs_nothing() -> None:
    assert Sparsity()(torch.nn.Linear(2, 2)) == 0
    assert Sparsity()(lambda x: x) == 0


def test_input_that_explains_nothing_loses_its_function() -> None:
    network, z = KAN([2, 1]), torch.rand(200, 2)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(400):
        optimiser.zero_grad()
        misfit = (network(z) - z[:, :1].square()).square().mean()
        (misfit + Sparsity(l1=0.03, entropy=0.03)(network)).backward()
        optimiser.step()
    used, unused = network.layers[0].coefficients.detach().abs().mean((1, 2))
    assert unused < 0.1 * used


@pytest.mark.parametrize("factor", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["l1", "entropy"])
def test_wrong_factors_are_refused(name: str, factor: float) -> None:
    with pytest.raises(ValueError, match=f"Expected {name} of at least 0 and finite, got {factor}"):
        Sparsity(**{name: factor})
