"""Posterior draws from every source against the exact posterior."""

import re
from collections.abc import Callable
from functools import cache

import pytest
import torch

import lvkam_pyro as lv
from lvkam_pyro.checks.pointwise import flatten_latents, latent_names
from lvkam_pyro.checks.samplers import Posterior, as_sampler, thin
from tests.assertions import assert_within_standard_errors
from tests.checks import programs
from tests.checks.programs import linear_gaussian

X = torch.randn(6, programs.NUM_OUTPUTS, generator=torch.Generator().manual_seed(0))
LADDER = lv.ladder.Ladder(num_temperatures=6, num_chains=20, num_warmup=40, num_samples=50)


@cache
def climb() -> lv.ladder.LadderSamples:
    return LADDER.sample(linear_gaussian, X)


SOURCES: dict[str, Callable[[], Posterior]] = {
    "guide": lambda: programs.exact_guide,
    "guide sampler": lambda: lv.checks.GuideSampler(programs.exact_guide),
    "weighted guide": lambda: lv.checks.ImportanceSampler(programs.wide_guide, 20_000),
    "weighted prior": lambda: lv.checks.ImportanceSampler(particles=200_000),
    "ladder": lambda: LADDER,
    "ladder that has run": climb,
}


@pytest.mark.parametrize("posterior", SOURCES.values(), ids=SOURCES)
def test_draws_have_the_exact_moments(posterior: Callable[[], Posterior]) -> None:
    draws = lv.checks.draw_posterior(linear_gaussian, X, posterior=posterior(), num_draws=900)
    values = draws.latents["z"].double()
    assert values.shape == (900, 6, 2)
    assert bool((draws.ess <= 900).all())
    variance = programs.POSTERIOR_COVARIANCE.diagonal().double()
    # The effective number is known to a tenth; two values a datum.
    error = (variance / (0.8 * draws.ess.double()[:, None])).sqrt()
    assert_within_standard_errors(values.mean(0), programs.posterior_mean(X).double(), error)
    assert_within_standard_errors(
        values.var(0), variance, variance * (2 / (0.5 * draws.ess.double()[:, None])).sqrt()
    )


def test_draws_that_are_there_are_taken_as_they_are() -> None:
    draws = lv.checks.draw_posterior(
        linear_gaussian, X, posterior=programs.exact_guide, num_draws=20
    )
    assert lv.checks.draw_posterior(linear_gaussian, X, posterior=draws, num_draws=99) is draws


def test_guide_draws_for_each_datum_by_itself() -> None:
    prior = lv.PriorGuide(linear_gaussian)
    draws = lv.checks.draw_posterior(linear_gaussian, X, posterior=prior, num_draws=50).latents["z"]
    assert draws.shape == (50, 6, 2)
    assert draws.unique().numel() == draws.numel()


def test_effective_number_counts_copies() -> None:
    sampler = lv.checks.ImportanceSampler(programs.exact_guide, 1000)
    equal = lv.checks.draw_posterior(linear_gaussian, X, posterior=sampler, num_draws=100).ess
    # Equal weights of S particles: 1 / (1/S + (1 - 1/S)/D).
    torch.testing.assert_close(equal, torch.full((6,), 1 / (1e-3 + (1 - 1e-3) / 100)))


def test_thinned_draws_are_spread_over_the_ladders() -> None:
    latents, ess = thin(climb(), 100)
    assert torch.equal(latents["z"][0], climb().latents["z"][0, 0])
    assert torch.equal(latents["z"][-1], climb().latents["z"][-1, -1])
    assert float(ess.max()) <= 100


def test_latents_are_named_value_by_value() -> None:
    latents = {"z": torch.arange(24.0).view(2, 2, 3, 2), "w": torch.zeros(2, 2)}
    assert latent_names(latents) == (
        "z[0, 0]", "z[0, 1]", "z[1, 0]", "z[1, 1]", "z[2, 0]", "z[2, 1]", "w",
    )  # fmt: skip
    assert flatten_latents(latents)[0, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0]


BAD_INPUT: list[tuple[Callable[[], object], type[Exception], str]] = [
    (
        lambda: lv.checks.draw_posterior(linear_gaussian, X[:3], posterior=climb()),
        ValueError,
        "posterior was computed for others",
    ),
    (lambda: lv.checks.draw_posterior(linear_gaussian, X, posterior=7), TypeError, "got int"),  # type: ignore[arg-type]
    (lambda: as_sampler(climb()), TypeError, "got LadderSamples"),
    (lambda: thin(climb(), 1001), ValueError, "at least 1001 draws, got 1000 (20 chains)"),
    (lambda: lv.checks.ImportanceSampler(particles=0), ValueError, "particles >= 1"),
]


@pytest.mark.parametrize(("call", "error", "match"), BAD_INPUT)
def test_bad_input(call: Callable[[], object], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=re.escape(match)):
        call()
