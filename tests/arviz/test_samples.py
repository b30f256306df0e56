"""to_arviz of draws in a dictionary, and of what a model computes of its latents."""

import re
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.arviz.convert import to_arviz
from tests.arviz.test_convert import SAMPLE, dims, groups_of, values
from tests.checks import programs, samplers

X = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, -0.3]])
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def draws(*shape: int) -> dict[str, Tensor]:
    return {"mean": torch.randn(*shape), "shift": torch.randn(*shape, 2, 1, 2)}


def test_dictionary_is_as_the_sampler() -> None:
    samples = draws(3, 20)
    one = to_arviz(samples, X, model=samplers.mean_model, seed=5)
    other = to_arviz(samplers.sampled(samplers.mean_model, samples, X), seed=5)
    assert groups_of(one) == groups_of(other)
    for group in groups_of(one) - {"sample_stats"}:
        assert one[group].equals(other[group])


def test_draws_of_all_chains_in_one_axis() -> None:
    samples = draws(12)
    idata = to_arviz(samples, X, model=samplers.mean_model, num_chains=3)
    found = values(idata, "posterior", "mean")
    assert torch.equal(found, samples["mean"].reshape(3, 4).double())


def test_draws_without_a_model() -> None:
    idata = to_arviz(draws(2, 5), dims={"shift": ["a", "b", "c"]})
    assert groups_of(idata) == {"posterior"}
    assert dims(idata, "posterior", "shift") == (*SAMPLE, "a", "b", "c")


BAD_INPUT: list[tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = [
    ({"z": [1.0]}, {}, TypeError, "'z' as a torch.Tensor, got list"),
    ({"z": torch.zeros(7)}, {"num_chains": 2}, ValueError, "for 2 chains"),
    ({"z": torch.zeros(())}, {"num_chains": 1}, ValueError, "for 1 chains"),
    ({"z": torch.zeros(7)}, {}, ValueError, "Pass num_chains"),
    ({}, {}, ValueError, "as many of each"),
    ({"z": torch.zeros(2, 7), "u": torch.zeros(2, 6)}, {}, ValueError, "as many of each"),
    ({"z": torch.zeros(8)}, {"num_chains": 0}, ValueError, "num_chains >= 1"),
    ({"z": torch.zeros(2, 7)}, {"model": samplers.normal_mean}, ValueError, "sites ['mean']"),
]


@pytest.mark.parametrize(("samples", "options", "error", "match"), BAD_INPUT)
def test_bad_input(
    samples: dict[str, Any], options: dict[str, Any], error: type[Exception], match: str
) -> None:
    args = (X[0],) if "model" in options else ()
    with pytest.raises(error, match=re.escape(match)):
        to_arviz(samples, *args, **options)


def test_what_a_model_computes_is_in_the_posterior() -> None:
    x = torch.tensor([0.0, 1.0, 1.0])
    idata = to_arviz(programs.two_latents, x, num_draws=30)
    for group in ("posterior", "prior"):
        assert dims(idata, group, "loc") == (*SAMPLE, "people")
        expected = values(idata, group, "z").sum(-1) * values(idata, group, "w")
        torch.testing.assert_close(values(idata, group, "loc"), expected, **CLOSE)


def computing(x: Tensor) -> None:
    """Computes in inner plates, of an event, and over all data, which no further axis survives."""
    with pyro.plate("data", len(x), dim=-2):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.deterministic("square", z**2)
        with pyro.plate("repeat", x.shape[1], dim=-1):
            u = pyro.sample("u", dist.Normal(0.0, 1.0))
            pyro.deterministic("sum", z + u)
            pyro.deterministic("powers", torch.stack([z + u, (z + u) ** 2], -1), event_dim=1)
            pyro.sample("x", dist.Normal(z + u, 1.0), obs=x)
    pyro.deterministic("largest", u.max())


def test_computed_values_of_inner_plates() -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    idata = to_arviz(computing, x, num_draws=20, num_particles=200)
    z, u = values(idata, "posterior", "z"), values(idata, "posterior", "u")
    expected = {
        "square": ((*SAMPLE, "data"), z**2),
        "sum": ((*SAMPLE, "data", "repeat"), z[..., None] + u),
        "largest": (SAMPLE, u.amax((-1, -2))),
    }
    for name, (axes, value) in expected.items():
        assert dims(idata, "posterior", name) == axes
        torch.testing.assert_close(values(idata, "posterior", name), value, **CLOSE)
    assert dims(idata, "posterior", "powers") == (*SAMPLE, "data", "repeat", "powers_dim_0")


def test_ladder_that_kept_its_path() -> None:
    torch.manual_seed(0)
    x = programs.draw_data(3)
    kept = {"num_temperatures": 4, "num_chains": 4, "num_samples": 10, "keep_path": True}
    ladder = lv.ladder.Ladder(**kept).sample(programs.linear_gaussian, x)
    idata = to_arviz(ladder)
    assert dims(idata, "power_posterior", "z") == (*SAMPLE, "temperature", "data", "latent")
    path = values(idata, "power_posterior", "z")
    assert torch.equal(path[:, :, -1], values(idata, "posterior", "z"))
    loc = path @ programs.LOADINGS.double()
    expected = dist.Normal(loc, programs.SCALE).log_prob(x.double()).sum(-1)
    torch.testing.assert_close(
        values(idata, "power_posterior", "log_likelihood"), expected, **CLOSE
    )


SAMPLERS = {
    "importance resampling": lambda: to_arviz(programs.only_a_factor, X[0], num_draws=10),
    "NUTS": lambda: to_arviz(samplers.sampled(samplers.mean_model, draws(2, 10), X)),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_posterior_says_where_it_is_from(name: str) -> None:
    assert SAMPLERS[name]()["posterior"].attrs["sampler"] == name
