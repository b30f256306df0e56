"""to_arviz of programs of any form: shared latents, several arguments, any names of sites."""

import arviz as az
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from tests.arviz.test_convert import GROUPS, SAMPLE, dims, groups_of, values
from tests.assertions import assert_within_standard_errors
from tests.checks import programs, samplers

X = torch.tensor([0.3, -1.2, 0.8, 2.0, 0.1])
JOINT = (GROUPS | {"sample_stats"}) - {"conditional_log_likelihood"}


def pooled(y: Tensor, scale: Tensor, offset: float = 0.0) -> None:
    """One mean of all data, whose noise is known."""
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    pyro.deterministic("double", 2 * mean)
    with pyro.plate("person", len(y)):
        pyro.sample("y", dist.Normal(mean + offset, scale), obs=y)


SCALE = torch.tensor([1.0, 0.5, 2.0, 1.0, 0.7])
PRECISION = 1 + float((SCALE**-2).sum())
MEAN = float(((X - 0.5) * SCALE**-2).sum()) / PRECISION


def exact_evidence() -> Tensor:
    covariance = torch.ones(5, 5) + torch.diag(SCALE**2)
    return dist.MultivariateNormal(torch.full((5,), 0.5), covariance).log_prob(X).double()


def test_model_whose_data_share_their_latents() -> None:
    idata = lv.to_arviz(pooled, X, SCALE, offset=0.5, num_particles=4000, num_draws=1000)
    assert groups_of(idata) == JOINT | {"proposal", "importance"}
    assert dims(idata, "posterior", "double") == SAMPLE
    assert dims(idata, "log_likelihood", "y") == (*SAMPLE, "person")
    assert dims(idata, "proposal", "mean") == ("chain", "particle")
    assert dims(idata, "importance", "ess") == ()
    mean = values(idata, "posterior", "mean")
    assert torch.equal(values(idata, "posterior", "double"), 2 * mean)
    error = torch.tensor(float(az.mcse(idata)["mean"])).double()
    # The particles' own error beside that of the draws.
    error = error + PRECISION**-0.5 / float(values(idata, "importance", "ess")) ** 0.5
    assert_within_standard_errors(mean.mean(), torch.tensor(MEAN).double(), error)
    weights = values(idata, "proposal", "log_weights").flatten()
    spread = (weights - weights.logsumexp(0)).exp().std() * len(weights) ** 0.5
    found = values(idata, "importance", "log_evidence")
    assert_within_standard_errors(found, exact_evidence(), spread)


def test_bound_program_stands_for_a_model_and_its_arguments() -> None:
    program = lv.bind(pooled, X, SCALE, offset=0.5)
    bound, unbound = lv.to_arviz(program), lv.to_arviz(pooled, X, SCALE, offset=0.5)
    for group in groups_of(unbound):
        assert bound[group].equals(unbound[group])
    idata = lv.to_arviz(program, guide=lv.PriorGuide(pooled), num_particles=400, num_draws=10)
    assert dims(idata, "posterior_predictive", "y") == (*SAMPLE, "person")
    samples = {"mean": torch.randn(2, 10)}
    idata = lv.to_arviz(samples, model=program)
    assert dims(idata, "log_likelihood", "y") == (*SAMPLE, "person")


def test_ladder_and_evidence_of_shared_latents_have_no_axis_of_data() -> None:
    ladder = lv.ladder.Ladder(num_temperatures=4, num_chains=4, num_samples=20, keep_path=True)
    climbed = ladder.sample(pooled, X, SCALE)
    evidence = lv.evidence.Importance(512).estimate(pooled, X, SCALE)
    idata = lv.to_arviz(pooled, X, SCALE, ladder=climbed, evidence=evidence)
    assert groups_of(idata) == JOINT | {"power_posterior", "power_sample_stats", "thermodynamic"}
    assert dims(idata, "power_posterior", "mean") == (*SAMPLE, "temperature")
    assert dims(idata, "thermodynamic", "mcse") == ("temperature",)
    assert dims(idata, "thermodynamic", "se") == ("estimator",)
    cold = values(idata, "power_posterior", "mean")[:, :, -1]
    assert torch.equal(cold, values(idata, "posterior", "mean"))
    with pytest.raises(ValueError, match="computed for others"):
        lv.to_arviz(pooled, X + 1, SCALE, ladder=climbed)


def named(latent: str, observed: str) -> programs.Program:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample(latent, dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample(observed, dist.Normal(z, 1.0).to_event(1), obs=x)

    return model


@pytest.mark.parametrize(
    ("latent", "observed", "variables", "axes"),
    [
        ("latent", "output", ("latent", "output"), ("latent_dim_0", "output_dim_0")),
        ("output", "latent", ("output", "latent"), ("output_dim_0", "latent_dim_0")),
        ("draw", "chain", ("draw_", "chain_"), ("latent", "output")),
        ("particle", "temperature", ("particle_", "temperature_"), ("latent", "output")),
    ],
)
def test_sites_that_have_the_name_of_an_axis(
    latent: str, observed: str, variables: tuple[str, str], axes: tuple[str, str]
) -> None:
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    idata = lv.to_arviz(named(latent, observed), x, num_draws=20)
    (drawn, seen), (latent_axis, output_axis) = variables, axes
    assert dims(idata, "posterior", drawn) == (*SAMPLE, "data", latent_axis)
    assert dims(idata, "log_prior", drawn) == (*SAMPLE, "data")
    assert dims(idata, "proposal", drawn) == ("chain", "particle", latent_axis)
    assert dims(idata, "posterior_predictive", seen) == (*SAMPLE, "data", output_axis)
    assert dims(idata, "observed_data", seen) == ("data", output_axis)
    assert len(az.summary(idata)) == 6


def test_draws_alone_that_have_the_name_of_an_axis() -> None:
    for name in ("draw", "latent", "data"):
        latents = {name: torch.randn(40, 3, 2)}
        zeros = torch.zeros(40, 3)
        idata = lv.to_arviz(lv.Particles(latents, zeros, zeros, zeros), num_draws=5)
        (found,) = idata["posterior"].data_vars
        assert idata["posterior"][found].shape == (4, 5, 3, 2)
    idata = lv.to_arviz({"chain": torch.randn(2, 10)})
    assert dims(idata, "posterior", "chain_") == SAMPLE


def test_axis_of_the_data_comes_first() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("repeat", x.shape[1], dim=-2):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x.T)

    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    idata = lv.to_arviz(model, x, num_draws=10)
    assert dims(idata, "posterior", "z") == (*SAMPLE, "data")
    assert dims(idata, "posterior_predictive", "x") == (*SAMPLE, "data", "repeat")
    assert torch.equal(values(idata, "observed_data", "x"), x.double())


def test_guide_that_is_partly_a_point_has_draws_and_no_weights() -> None:
    def guide(x: Tensor) -> None:
        pyro.sample("mean", dist.Normal(0.3, 0.2))
        with pyro.plate("group", x.shape[0], dim=-2):
            pyro.sample("shift", dist.Delta(torch.zeros(2)).to_event(1))

    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    svi = pyro.infer.SVI(
        samplers.mean_model, guide, pyro.optim.Adam({"lr": 0.1}), pyro.infer.Trace_ELBO()
    )
    idata = lv.to_arviz(svi, x, num_draws=20)
    assert groups_of(idata) == JOINT
    assert not values(idata, "posterior", "shift").any()
    assert float(values(idata, "posterior", "mean").std()) == pytest.approx(0.2, abs=0.1)
