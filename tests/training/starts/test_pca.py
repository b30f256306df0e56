"""The PCA start: reproduces what is linear, and says what it cannot start."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Normal

import lvkam_pyro as lv
from lvkam_pyro.programs import load_program
from lvkam_pyro.training.starts.pca import start_additive, start_vague
from tests.training.toy import FactorModel, toy_data, weights

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
    z = lv.training.PCAStart(ridge=1e-3)(model, DATA)
    assert z.shape == (500, 3)
    assert ((z > 0) & (z < 1)).all()
    residual = DATA - model.generator(z)
    assert residual.var() < 0.01 * DATA.var()
    torch.testing.assert_close(model.likelihood.scale, residual.std(0, correction=0))


def test_latents_follow_a_normal_reference() -> None:
    basis = lv.BSplineBasis(grid_size=8, domain=(-3.0, 3.0))
    prior = lv.MixturePrior(3, basis=basis, reference=Normal(0.0, 1.0))
    model = lv.LVKAM(prior, lv.KANGenerator(3, 8, basis=basis), lv.NormalLikelihood(8))
    z = lv.training.PCAStart()(model, DATA)
    # The scores have unit variance and are divided by 1.6.
    torch.testing.assert_close(z.std(0), torch.full((3,), 1 / 1.6), rtol=1e-2, atol=0)


def test_more_latents_than_components_of_the_data() -> None:
    model = build(12)
    z = lv.training.PCAStart()(model, DATA)
    assert z.shape == (500, 12)
    assert z.isfinite().all()


def test_product_prior_starts_inside_its_combined_domain() -> None:
    prior = lv.ProductPrior(3, num_components=2)
    basis = lv.BSplineBasis(grid_size=8, domain=prior.combined_domain)
    model = lv.LVKAM(prior, lv.KANGenerator(3, 8, basis=basis), lv.NormalLikelihood(8))
    z = lv.training.PCAStart()(model, DATA)
    assert ((z > 0) & (z < 2)).all()


def test_other_models_are_refused() -> None:
    deep = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 8, hidden=(4,)), lv.NormalLikelihood(8))
    with pytest.raises(TypeError, match="KANGenerator of one layer"):
        lv.training.PCAStart()(deep, DATA)
    formulas = build(3)
    formulas.generator.layers[0] = lv.kan.SymbolicLayer(formulas.generator.layers[0])
    with pytest.raises(TypeError, match="without formulas"):
        lv.training.PCAStart()(formulas, DATA)
    other = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 8), torch.nn.Identity())
    with pytest.raises(TypeError, match="BernoulliLikelihood"):
        lv.training.PCAStart()(other, DATA)


LOG_ODDS = (
    2
    * torch.randn(60, 2, generator=torch.Generator().manual_seed(3))
    @ torch.randn(2, 12, generator=torch.Generator().manual_seed(4))
)


def measured(m: Tensor) -> Tensor:
    return m + 0.3 * torch.randn_like(m)


def flags(m: Tensor) -> Tensor:
    return Bernoulli(logits=m).sample()


def categories(m: Tensor) -> Tensor:
    return Categorical(logits=m.unflatten(-1, (-1, 3))).sample().to(m.dtype)


def some_missing(m: Tensor) -> Tensor:
    x = categories(m)
    x[::7, 1] = -1
    return x


def of_all_kinds(m: Tensor) -> Tensor:
    return torch.cat([measured(m[:, :4]), flags(m[:, 4:6]), categories(m[:, 6:])], 1)


LIKELIHOODS: dict[str, tuple[Callable[[], nn.Module], Callable[[Tensor], Tensor]]] = {
    "normal": (lambda: lv.NormalLikelihood(12, scale=0.5), measured),
    "Bernoulli": (lambda: lv.BernoulliLikelihood(12), flags),
    "categorical": (lambda: lv.CategoricalLikelihood(4, 3), categories),
    "missing entries": (lambda: lv.CategoricalLikelihood(4, 3), some_missing),
    "joint": (
        lambda: lv.JointLikelihood(
            [
                lv.NormalLikelihood(4, scale=0.5),
                lv.BernoulliLikelihood(2),
                lv.CategoricalLikelihood(2, 3),
            ]
        ),
        of_all_kinds,
    ),
}


def of_kind(name: str, dtype: torch.dtype = torch.float32) -> tuple[lv.LVKAM, Tensor]:
    likelihood, draw = LIKELIHOODS[name]
    model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 12), likelihood())
    return model.to(dtype), draw(LOG_ODDS).to(dtype)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_starts_at_more_evidence_than_random_functions_have(name: str) -> None:
    """By more than half a nat per datum, of models that have learned nothing yet."""
    model, x = of_kind(name)
    estimator = lv.evidence.Importance(4096, num_replicates=4)
    before = estimator.estimate(model, x).log_evidence.mean()
    lv.training.PCAStart()(model, x)
    assert estimator.estimate(model, x).log_evidence.mean() > before + 0.5


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coefficients_are_a_penalised_maximum_at_the_latents(name: str, dtype: torch.dtype) -> None:
    """No step along or against the gradient of likelihood and penalty leads higher."""
    model, x = of_kind(name, dtype)
    ridge = 3.0
    z = lv.training.PCAStart(ridge=ridge)(model, x)
    assert z.dtype == dtype
    parts = model.likelihood.parts if name == "joint" else [model.likelihood]
    for part in parts:
        if isinstance(part, lv.NormalLikelihood):
            # The penalty of measurements is in their own units.
            part.set_scale(torch.ones_like(part.scale))
    coefficients = model.generator.layers[0].coefficients
    fitted = model.likelihood(model.generator(z)).log_prob(x).sum()
    objective = fitted - ridge / 2 * coefficients.square().sum()
    (gradient,) = torch.autograd.grad(objective, coefficients)
    # It is a sum over 60 data of terms of the size of one.
    assert gradient.abs().max() < 1000 * torch.finfo(dtype).eps


def test_levels_start_as_normal_noise_does() -> None:
    x = torch.rand(60, 12)
    levels, normal = (
        lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 12), likelihood)
        for likelihood in (lv.QuantizedLikelihood(12, num_levels=9), lv.NormalLikelihood(12))
    )
    normal.generator.load_state_dict(levels.generator.state_dict())
    lv.training.PCAStart()(levels, x)
    lv.training.PCAStart()(normal, x)
    ours, theirs = (model.generator.layers[0].coefficients for model in (levels, normal))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(levels.likelihood.scale, normal.likelihood.scale)


def test_vague_noise_is_as_wide_as_the_farthest_datum() -> None:
    model, x = of_kind("normal")
    start_vague(model, x)
    lv.training.PCAStart()(other := of_kind("normal")[0], x)
    z = lv.training.PCAStart()(of_kind("normal")[0], x)
    farthest = (x - other.generator(z)).abs().amax(0)
    torch.testing.assert_close(model.likelihood.scale, farthest / 1.5)


def test_vague_start_of_discrete_data_is_that_of_the_components() -> None:
    (first, x), (second, _) = of_kind("Bernoulli"), of_kind("Bernoulli")
    start_vague(first, x)
    lv.training.PCAStart()(second, x)
    z = torch.rand(5, 2)
    torch.testing.assert_close(first.generator(z), second.generator(z))


def test_additive_model_starts_at_the_principal_components() -> None:
    program = load_program("model", "digits")
    x, _ = program.module.load_data()
    model = program.build({})
    before = model.likelihood.scale.detach().mean()
    start_additive(model, x)
    assert model.likelihood.scale.mean() < before + 0.1
    assert model.likelihood.scale.std() > 0.01


def test_other_models_start_where_they_are() -> None:
    model = FactorModel()
    before = weights(model)
    start_additive(model, toy_data())
    assert all(map(torch.equal, before, weights(model)))
