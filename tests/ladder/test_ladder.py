"""MALA, exchange and the ladder: invariance, exact moments, bookkeeping."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from lvkam_pyro.ladder.ladder import Ladder
from tests.assertions import assert_within_standard_errors
from tests.tracing import models

SHORT = Ladder(num_temperatures=6, num_chains=8, num_warmup=30, num_samples=20, thinning=1)


def test_moves_out_of_the_support_are_refused() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.factor("window", torch.where(z > 0, 0.0, -torch.inf) + 0.0 * x)

    samples = SHORT.sample(model, torch.zeros(2))
    assert (samples.latents["z"] > 0).all()
    assert samples.log_likelihood[..., 1:, :].max() == 0
    assert not samples.log_likelihood.isnan().any()


@pytest.mark.parametrize(
    ("model", "x", "shapes"),
    [
        (models.two_sites, torch.zeros(4), {"a": (), "b": (2,)}),
        (models.with_factor, torch.zeros(4), {"z": ()}),
        (models.with_inner_plate, torch.zeros(4, 3), {"z": ()}),
        (models.with_inner_latents, torch.zeros(4, 3), {"z": (2,), "e": (3,)}),
        (models.with_bounds, torch.zeros(4), {"scale": (), "u": ()}),
        (models.with_plate_total, torch.zeros(4), {"z": ()}),
        (models.with_fixed_plate, torch.zeros(4), {"z": ()}),
    ],
)
def test_shapes_of_many_models(
    model: object, x: Tensor, shapes: dict[str, tuple[int, ...]]
) -> None:
    samples = SHORT.sample(model, x)
    assert samples.log_likelihood.shape == (20, 8, 6, 4)
    assert samples.log_likelihood.dtype == torch.float64
    assert {name: draws.shape for name, draws in samples.latents.items()} == {
        name: (20, 8, 4, *shape) for name, shape in shapes.items()
    }
    assert samples.acceptance.shape == samples.rhat.shape == samples.ess.shape == (6, 4)
    assert samples.swap_rate.shape == (5, 4)
    assert (samples.swap_rate > 0).all()


def test_the_posterior_of_an_ill_conditioned_model() -> None:
    model = models.LinearGaussian(6, 8, scale=0.1)
    left, _, right = torch.linalg.svd(model.weight, full_matrices=False)
    model.weight = left @ torch.diag(torch.logspace(0.5, -1.5, 6)) @ right
    x = model.sample(5)
    samples = Ladder(num_samples=60).sample(model, x)
    assert samples.rhat.max() < 1.05
    assert (samples.acceptance[1:] - 0.574).abs().max() < 0.1
    precision = torch.eye(6) + model.weight.T @ model.weight / 0.01
    exact = torch.linalg.solve(precision, model.weight.T @ x.T / 0.01).T
    chains = samples.latents["z"].mean(0)
    error = chains.std(0) / samples.num_chains**0.5
    assert_within_standard_errors(chains.mean(0), exact, error)
    variance = samples.latents["z"].var((0, 1))
    expected = precision.inverse().diagonal().expand_as(variance)
    torch.testing.assert_close(variance, expected, rtol=0.25, atol=0)


def test_many_coordinates_learn_variances_only() -> None:
    model = models.LinearGaussian(40, 5, scale=1.0)
    samples = SHORT.sample(model, model.sample(2))
    assert samples.latents["z"].shape == (20, 8, 2, 40)
    assert (samples.acceptance[1:] > 0.2).all()


def test_double_precision() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=x.dtype), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    samples = SHORT.sample(model, torch.zeros(2, dtype=torch.float64))
    assert samples.latents["z"].dtype == torch.float64


def test_blocks_of_data_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.LinearGaussian(2, 3)
    x = model.sample(5)
    monkeypatch.setattr("lvkam_pyro.tracing.program._MAX_VALUES", 6 * 8 * 5 * 2)
    samples = SHORT.sample(model, x)
    assert samples.log_likelihood.shape == (20, 8, 6, 5)
    assert samples.latents["z"].shape == (20, 8, 5, 2)
    whole = SHORT.sample(models.with_plate_total, torch.zeros(5))
    assert whole.data_scale == pytest.approx(20.0)


def test_equal_ladders_compare_equal() -> None:
    assert Ladder() == Ladder()
    assert Ladder() != Ladder(num_chains=8)


def scaled_prior(x: Tensor) -> None:
    with pyro.plate("data", len(x)), pyro.poutine.scale(scale=0.5):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def no_latent(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)


WRONG = {
    "no latent": (no_latent, torch.zeros(3), "no latent site"),
    "scaled prior": (scaled_prior, torch.zeros(3), "'z' has a scale"),
    "not finite": (models.two_sites, torch.tensor([math.nan]), "1 of 1 values"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_models(case: str) -> None:
    model, x, match = WRONG[case]
    with pytest.raises(ValueError, match=match):
        SHORT.sample(model, x)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"num_chains": 1}, "num_chains >= 2"),
        ({"num_samples": 3}, "num_samples >= 4"),
        ({"num_temperatures": 1}, "num_temperatures >= 2"),
        ({"thinning": 0}, "thinning >= 1"),
    ],
)
def test_wrong_options(options: dict[str, int], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Ladder(**options)
