"""A model whose functions are formulas is a model like any other."""

import torch
from torch import Tensor
from torch.distributions import Normal

import lvkam_pyro as lv
from lvkam_pyro.kan.symbolic.forms import FORMS


def with_formulas(prior: lv.MixturePrior) -> lv.MixturePrior:
    """The prior with the energy -8 (z - 0.3)^2 everywhere: a truncated normal."""
    layer = lv.kan.SymbolicLayer(prior.functions)
    for latent in range(layer.in_features):
        for component in range(layer.out_features):
            layer.set_formula(
                latent, component, lv.kan.Formula(FORMS["x^2"], b=-0.3, c=-8.0, d=1.0)
            )
    prior.functions = layer
    return prior


def truncated_log_prob(z: Tensor) -> Tensor:
    normal = Normal(torch.tensor(0.3).double(), torch.tensor(0.25).double())
    ends = normal.cdf(torch.tensor([0.0, 1.0]).double())
    return (normal.log_prob(z) - ends.diff().log()).sum(-1)


def test_prior_of_formulas_is_the_density_that_they_say() -> None:
    prior = with_formulas(lv.MixturePrior(2, num_components=3)).double()
    z = torch.rand(20, 2, dtype=torch.float64)
    torch.testing.assert_close(prior().log_prob(z).detach(), truncated_log_prob(z))


def test_model_of_formulas_trains_and_its_constants_move() -> None:
    model = lv.LVKAM(
        with_formulas(lv.MixturePrior(2)), lv.KANGenerator(2, 3), lv.NormalLikelihood(3)
    )
    lv.kan.auto_symbolic(model.generator, min_r_squared=0.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    recipe = lv.Recipe(
        name="formulas",
        build_guide=lambda model, x: lv.PriorGuide(model),
        objective=lv.EmpiricalBayes(num_particles=32),
        num_epochs=2,
        start=None,
    )
    fit = lv.fit(model, torch.randn(64, 3), recipe, progress=False)
    after = dict(fit.model.named_parameters())
    for name in ("prior.functions.constants", "generator.layers.0.constants"):
        change = (after[name] - before[name]).abs()
        assert change.isfinite().all()
        assert change.any()
    for name in ("prior.functions.coefficients", "generator.layers.0.coefficients"):
        assert torch.equal(after[name], before[name])
