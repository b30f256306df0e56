"""The PCA start: reproduces what is linear, and says what it cannot start."""

import pytest
import torch
from torch.distributions import Normal

import lvkam_pyro as lv

DATA = torch.randn(500, 3, generator=torch.Generator().manual_seed(1)) @ torch.randn(
    3, 8, generator=torch.Generator().manual_seed(2)
)


def build(num_latents: int, **prior: object) -> lv.LVKAM:
    return lv.LVKAM(
        lv.MixturePrior(num_latents, **prior),
        lv.KANGenerator(num_latents, 8),
        lv.NormalLikelihood(8),
    )


def test_reproduces_data_of_its_own_rank() -> None:
    model = build(3)
    z = lv.PCAStart(ridge=1e-3)(model, DATA)
    assert z.shape == (500, 3)
    assert ((z > 0) & (z < 1)).all()
    residual = DATA - model.generator(z)
    assert residual.var() < 0.01 * DATA.var()
    torch.testing.assert_close(model.likelihood.scale, residual.std(0, correction=0))


def test_latents_follow_a_normal_reference() -> None:
    basis = lv.BSplineBasis(grid_size=8, domain=(-3.0, 3.0))
    prior = lv.MixturePrior(3, basis=basis, reference=Normal(0.0, 1.0))
    model = lv.LVKAM(prior, lv.KANGenerator(3, 8, basis=basis), lv.NormalLikelihood(8))
    z = lv.PCAStart()(model, DATA)
    # The scores have unit variance and are divided by 1.6.
    torch.testing.assert_close(z.std(0), torch.full((3,), 1 / 1.6), rtol=1e-2, atol=0)


def test_more_latents_than_components_of_the_data() -> None:
    model = build(12)
    z = lv.PCAStart()(model, DATA)
    assert z.shape == (500, 12)
    assert z.isfinite().all()


def test_product_prior_starts_inside_its_combined_domain() -> None:
    prior = lv.ProductPrior(3, num_components=2)
    basis = lv.BSplineBasis(grid_size=8, domain=prior.combined_domain)
    model = lv.LVKAM(prior, lv.KANGenerator(3, 8, basis=basis), lv.NormalLikelihood(8))
    z = lv.PCAStart()(model, DATA)
    assert ((z > 0) & (z < 2)).all()


def test_other_models_are_refused() -> None:
    deep = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 8, hidden=(4,)), lv.NormalLikelihood(8))
    with pytest.raises(TypeError, match="KANGenerator of one layer"):
        lv.PCAStart()(deep, DATA)
    formulas = build(3)
    formulas.generator.layers[0] = lv.SymbolicLayer(formulas.generator.layers[0])
    with pytest.raises(TypeError, match="without formulas"):
        lv.PCAStart()(formulas, DATA)
    other = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 8), torch.nn.Identity())
    with pytest.raises(TypeError, match="NormalLikelihood"):
        lv.PCAStart()(other, DATA)
