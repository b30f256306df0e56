"""Mean field on nodes: a bound, exact where it should be, and a proposal with honest weights."""

import pytest
import torch
from scipy.stats import norm

import lvkam_pyro as lv
from lvkam_pyro.additive.model import AdditiveModel
from lvkam_pyro.additive.tables import AdditiveTables
from lvkam_pyro.guides.mean_field import GridMeanFieldGuide, MeanField
from lvkam_pyro.tracing.structure import ModelStructure
from tests.assertions import assert_within_standard_errors
from tests.ladder.chains import chain, draw_data, exact_log_evidence
from tests.tracing import models


def test_one_latent_has_no_gap() -> None:
    x = torch.randn(6)
    bound = GridMeanFieldGuide(models.with_deterministic).elbo(x)
    exact = torch.tensor(norm.logpdf(x.double(), scale=5**0.5))
    torch.testing.assert_close(bound, exact, rtol=0, atol=1e-4)


def test_it_bounds_the_evidence_from_below_and_rises() -> None:
    model = chain(5)
    x = draw_data(model, 6)
    tables = AdditiveTables.of(AdditiveModel.of(model, x, ModelStructure.of(model, x)))
    with torch.no_grad():
        bounds = [MeanField.of(tables, x, max_sweeps=n).elbo for n in range(1, 8)]
    assert (torch.stack(bounds).diff(dim=0) > -1e-10).all()
    gap = exact_log_evidence(model, x) - bounds[-1]
    assert (gap > 0).all()
    assert gap.max() < 3


def test_the_linear_gaussian_bound_is_the_closed_form() -> None:
    """Mean field has the right means and the conditional variances: a gap of known size."""
    model = models.LinearGaussian(2, 3)
    x = model.sample(4)
    bound = GridMeanFieldGuide(model, max_sweeps=2000).elbo(x)
    weight = model.weight.double()
    precision = torch.eye(2).double() + weight.T @ weight / model.scale**2
    gap = (precision.diagonal().log().sum() - torch.logdet(precision)) / 2
    torch.testing.assert_close(bound, model.exact(x) - gap, rtol=0, atol=2e-3)


@pytest.mark.parametrize("prior_share", [0.5, 1.0])
def test_its_weights_are_the_models(prior_share: float) -> None:
    model = chain(3, scale=0.3)
    x = draw_data(model, 4)
    guide = GridMeanFieldGuide(model, prior_share=prior_share)
    estimates = [lv.draw_particles(model, guide, x, 256).log_evidence.detach() for _ in range(64)]
    ratio = (torch.stack(estimates) - exact_log_evidence(model, x)).exp()
    assert_within_standard_errors(
        ratio.mean(0), torch.ones(4).double(), ratio.std(0) / len(ratio) ** 0.5
    )


def test_it_trains() -> None:
    model = chain(2)
    x = draw_data(model, 20)
    loss = lv.EmpiricalBayes(8)(model, GridMeanFieldGuide(model))(x)
    loss.backward()
    gradient = model.generator.layers[0].coefficients.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior_share": 1.5}, "prior_share"),
        ({"max_sweeps": 0}, "max_sweeps"),
        ({"num_nodes": 0}, "num_nodes"),
    ],
)
def test_bad_arguments(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridMeanFieldGuide(models.two_sites, **options)
