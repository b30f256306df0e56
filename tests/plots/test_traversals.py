"""A traversal moves one latent, and the others stay."""

import numpy as np
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv

PRIOR = lv.MixturePrior(3)
MODEL = lv.LVKAM(PRIOR, lv.KANGenerator(3, 9), lv.NormalLikelihood(9))


def expected_data(z: Tensor) -> np.ndarray:
    with torch.no_grad():
        return MODEL.likelihood(MODEL.generator(MODEL.prior.combine(z))).mean.numpy()


def test_traversal_moves_one_latent_along_its_quantiles() -> None:
    axes = lv.plots.traversals(MODEL, latents=[1])
    levels = torch.linspace(0.02, 0.98, 9)
    with torch.no_grad():
        z = PRIOR.densities().icdf(torch.tensor(0.5)).repeat(9, 1)
        z[:, 1] = PRIOR.densities().icdf(levels[:, None])[:, 1]
    drawn = np.stack([line.get_ydata() for line in axes[0].get_lines()])
    assert np.allclose(drawn, expected_data(z), atol=1e-6)


def test_traversals_of_the_strongest_latents_come_first() -> None:
    generator = torch.nn.Linear(14, 9)
    with torch.no_grad():
        generator.weight.copy_(torch.linspace(0, 1, 14).expand(9, -1))
    model = lv.LVKAM(lv.MixturePrior(14), generator, lv.NormalLikelihood(9))
    titles = [one.get_title() for one in lv.plots.traversals(model)]
    assert len(titles) == 12
    assert titles[0] == "latent 13"
    assert "latent 0" not in titles


@pytest.mark.parametrize(
    ("likelihood", "expected"),
    [(lv.NormalLikelihood(4), True), (lv.CategoricalLikelihood(2, 2), False)],
)
def test_only_a_likelihood_with_a_mean_is_traversed(
    likelihood: torch.nn.Module, expected: bool
) -> None:
    assert lv.plots.can_traverse(lv.LVKAM(PRIOR, lv.KANGenerator(3, 4), likelihood)) == expected
