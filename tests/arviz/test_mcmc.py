"""to_arviz of Pyro's MCMC: axes from plates, statistics, predictions, exact values."""

import re
from typing import Any

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import HMC, MCMC, NUTS
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.arviz.convert import to_arviz
from tests.arviz.test_convert import SAMPLE, dims, groups_of, loo_total, values
from tests.assertions import assert_within_standard_errors
from tests.checks import programs, samplers

JOINT = {
    "posterior",
    "posterior_predictive",
    "log_likelihood",
    "log_prior",
    "sample_stats",
    "prior",
    "prior_predictive",
    "observed_data",
}
X = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, -0.3]])


@pytest.fixture(scope="module")
def nested() -> MCMC:
    torch.manual_seed(0)
    samples = {"mean": torch.randn(3, 40), "shift": torch.randn(3, 40, 2, 1, 2)}
    model, found = samplers.mean_model, {0: [5], 2: [0, 39]}
    return samplers.sampled(model, samples, X, divergences=found, scale=0.5)


@pytest.fixture(scope="module")
def local() -> tuple[MCMC, Tensor]:
    """Exact posterior draws of a model whose latents belong to a datum each."""
    torch.manual_seed(0)
    x = programs.draw_data(4)
    exact = dist.MultivariateNormal(programs.posterior_mean(x), programs.POSTERIOR_COVARIANCE)
    samples = {"z": exact.sample((4, 500))}
    return samplers.sampled(programs.linear_gaussian, samples, x), x


def test_nested_plates(nested: MCMC) -> None:
    idata = to_arviz(nested)
    assert groups_of(idata) == JOINT
    assert dims(idata, "posterior", "mean") == SAMPLE
    assert dims(idata, "posterior", "double") == SAMPLE
    assert dims(idata, "posterior", "shift") == (*SAMPLE, "group", "shift_dim_0")
    assert dims(idata, "posterior", "centre") == (*SAMPLE, "group")
    assert dims(idata, "log_likelihood", "x") == (*SAMPLE, "group", "person")
    assert dims(idata, "log_prior", "shift") == (*SAMPLE, "group")
    assert dims(idata, "prior", "centre") == (*SAMPLE, "group")
    assert dims(idata, "prior_predictive", "x") == (*SAMPLE, "group", "person")
    assert dims(idata, "observed_data", "x") == ("group", "person")


def test_values_are_those_of_each_draw(nested: MCMC) -> None:
    idata = to_arviz(nested)
    samples = nested.get_samples(group_by_chain=True)
    assert torch.equal(values(idata, "posterior", "mean"), samples["mean"].double())
    centre = samples["mean"][..., None] + samples["shift"].sum(-1)[..., 0]
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(values(idata, "posterior", "centre"), centre.double(), **close)
    # The keyword argument of `run`, too, is the model's: the scale is 0.5.
    log_prob = dist.Normal(centre[..., None], 0.5).log_prob(X).double()
    torch.testing.assert_close(values(idata, "log_likelihood", "x"), log_prob, **close)
    shift = dist.Normal(0.0, 1.0).log_prob(samples["shift"]).sum((-1, -2)).double()
    torch.testing.assert_close(values(idata, "log_prior", "shift"), shift, **close)
    lp = log_prob.sum((-1, -2)) + shift.sum(-1)
    lp = lp + dist.Normal(0.0, 1.0).log_prob(samples["mean"]).double()
    torch.testing.assert_close(values(idata, "sample_stats", "lp"), lp, **close)
    residual = (values(idata, "posterior_predictive", "x") - centre.double()[..., None]) / 0.5
    assert_within_standard_errors(
        residual.mean(), torch.tensor(0.0).double(), residual.std() / residual.numel() ** 0.5
    )
    # New data of other latents than the draw's own would be spread wider.
    assert float(residual.square().mean()) == pytest.approx(1.0, abs=0.2)


def test_divergences(nested: MCMC) -> None:
    statistics = to_arviz(nested)["sample_stats"]
    diverging = np.argwhere(np.asarray(statistics["diverging"]))
    assert diverging.tolist() == [[0, 5], [2, 0], [2, 39]]
    assert list(statistics.attrs["acceptance_rate"]) == [0.9, 0.9, 0.9]


def test_latents_of_each_datum(local: tuple[MCMC, Tensor]) -> None:
    mcmc, x = local
    idata = to_arviz(mcmc)
    assert groups_of(idata) == JOINT | {"conditional_log_likelihood", "proposal", "importance"}
    assert dims(idata, "posterior", "z") == (*SAMPLE, "data", "latent")
    samples = mcmc.get_samples(group_by_chain=True)["z"].double()
    assert torch.equal(values(idata, "posterior", "z"), samples)
    loc = samples @ programs.LOADINGS.double()
    log_joint = dist.Normal(0.0, 1.0).log_prob(samples).sum((-1, -2))
    log_joint = log_joint + dist.Normal(loc, programs.SCALE).log_prob(x.double()).sum((-1, -2))
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(values(idata, "sample_stats", "lp"), log_joint, **close)
    marginal = values(idata, "log_likelihood", "x").flatten(0, 1)
    exact = programs.exact_log_evidence(x).double()
    assert_within_standard_errors(marginal.mean(0), exact, marginal.std(0))
    assert float(marginal.std(0).max()) < 0.02
    assert abs(loo_total(az.loo(idata)) - float(exact.sum())) < 0.1
    assert "importance" not in groups_of(to_arviz(mcmc, evidence=_evidence(x)))


def _evidence(x: Tensor) -> lv.evidence.Evidence:
    return lv.evidence.Importance(256).estimate(
        programs.linear_gaussian, x, guide=programs.exact_guide
    )


def test_latents_of_inner_plates() -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    samples = {"z": torch.randn(2, 30, 4, 1), "u": torch.randn(2, 30, 4, 3)}
    idata = to_arviz(samplers.sampled(programs.inner_plate, samples, x))
    assert dims(idata, "posterior", "u") == (*SAMPLE, "data", "repeat")
    assert torch.equal(values(idata, "posterior", "u"), samples["u"].double())
    assert torch.equal(values(idata, "posterior", "z"), samples["z"][..., 0].double())
    assert float(values(idata, "importance", "pareto_k").max()) < 0.7


def test_loo_of_a_global_mean_is_the_exact_one() -> None:
    x = torch.tensor([0.3, -1.2, 0.8, 2.0, 0.1])
    samples = {"mean": samplers.draw_mean(x, 4, 2000)}
    loo = loo_total(az.loo(to_arviz(samplers.sampled(samplers.normal_mean, samples, x))))
    others = x.sum() - x
    predictive = dist.Normal(others / len(x), (1 + 1 / len(x)) ** 0.5)
    exact = float(predictive.log_prob(x).sum())
    # p_loo is about 1; its Monte Carlo error over 8000 draws is of the order of 8000^-1/2.
    assert abs(loo - exact) < 0.1


def test_latents_that_were_summed_out_are_drawn_given_the_others() -> None:
    x = torch.tensor([-1.0, 0.5, 3.0])
    samples = {"mean": torch.full((2, 2000), 0.5)}
    idata = to_arviz(samplers.sampled(samplers.mixture, samples, x))
    assert groups_of(idata) == JOINT
    assert dims(idata, "posterior", "kind") == (*SAMPLE, "data")
    kinds = values(idata, "posterior", "kind").double().flatten(0, 1)
    log_odds = dist.Normal(1.5, 1.0).log_prob(x) - dist.Normal(0.5, 1.0).log_prob(x)
    share = log_odds.double().sigmoid()
    error = (share * (1 - share) / len(kinds)).sqrt()
    assert bool(((kinds.mean(0) - share).abs() < 4 * error).all())


def test_pointwise_likelihood_is_summed_over_discrete_latents() -> None:
    x = torch.tensor([-1.0, 0.5, 3.0])
    samples = {"mean": torch.randn(2, 10)}
    idata = to_arviz(samplers.sampled(samplers.mixture, samples, x))
    terms = [dist.Normal(samples["mean"][..., None] + kind, 1.0).log_prob(x) for kind in (0, 1)]
    expected = torch.stack(terms).logsumexp(0) - torch.tensor(2.0).log()
    torch.testing.assert_close(values(idata, "log_likelihood", "x").float(), expected)


def test_latents_without_draws_leave_predictions_out() -> None:
    mcmc = samplers.sampled(samplers.mean_model, {"mean": torch.randn(2, 10)}, X)
    with pytest.warns(UserWarning, match=r"no draws of \['shift'\]"):
        idata = to_arviz(mcmc)
    assert groups_of(idata) == JOINT - {"posterior_predictive", "log_likelihood", "log_prior"}
    assert dims(idata, "prior", "shift") == (*SAMPLE, "group", "shift_dim_0")


def test_potential_function_has_no_model() -> None:
    kernel = HMC(potential_fn=lambda z: z["a"].square().sum() / 2)
    mcmc = MCMC(kernel, 10, 5, initial_params={"a": torch.zeros(2)}, disable_progbar=True)
    mcmc.run()
    idata = to_arviz(mcmc)
    assert groups_of(idata) == {"posterior", "sample_stats"}
    assert dims(idata, "posterior", "a") == (*SAMPLE, "a_dim_0")


def test_a_real_run() -> None:
    x = torch.tensor([0.3, -1.2, 0.8])
    mcmc = MCMC(NUTS(samplers.normal_mean), 30, 20, disable_progbar=True)
    mcmc.run(x)
    idata = to_arviz(mcmc)
    drawn = values(idata, "posterior", "mean")
    assert torch.equal(drawn, mcmc.get_samples(group_by_chain=True)["mean"].double())
    assert dims(idata, "log_likelihood", "x") == (*SAMPLE, "data")


def test_other_arguments_than_those_of_the_run(local: tuple[MCMC, Tensor]) -> None:
    mcmc, x = local
    idata = to_arviz(mcmc, x + 0.1)
    assert torch.equal(values(idata, "observed_data", "x"), (x + 0.1).double())


def test_random_state_and_store_stay(nested: MCMC) -> None:
    before = torch.get_rng_state()
    first, second = (values(to_arviz(nested, seed=1), "prior", "mean") for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, second)
    assert not list(pyro.get_param_store())


def plate_named_draw(x: Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("draw", len(x)):
        pyro.sample("x", dist.Normal(mean, 1.0), obs=x)


def subsampled(x: Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x), subsample_size=2) as index:
        pyro.sample("x", dist.Normal(mean, 1.0), obs=x[index])


MEANS = {"mean": torch.zeros(1, 10)}
BAD_INPUT: list[tuple[MCMC, dict[str, Any], str]] = [
    (MCMC(NUTS(samplers.normal_mean), 10), {}, "Call its run()"),
    (samplers.sampled(plate_named_draw, MEANS, torch.zeros(3)), {}, "Rename the plate"),
    (samplers.sampled(subsampled, MEANS, torch.zeros(3)), {}, "without subsample_size"),
    (samplers.sampled(samplers.normal_mean, MEANS, X[0]), {"num_particles": 0}, "num_particles"),
]


@pytest.mark.parametrize(("mcmc", "options", "match"), BAD_INPUT)
def test_bad_input(mcmc: MCMC, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=re.escape(match)):
        to_arviz(mcmc, **options)
