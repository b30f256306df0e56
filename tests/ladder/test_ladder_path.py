"""The draws that a ladder keeps at all temperatures, against the exact power posteriors."""

from dataclasses import replace

import pytest
import torch

import lvkam_pyro as lv
from lvkam_pyro.ladder.kernel import Kernel
from tests.assertions import assert_within_standard_errors

PROBLEM = lv.problems.load_problem("linear_gaussian_1")
LADDER = lv.ladder.Ladder(num_temperatures=6, num_chains=64, num_warmup=40, num_samples=30)
KERNELS: dict[str, Kernel] = {
    "MALA": lv.ladder.MALA(),
    "GridGibbsKernel": lv.ladder.GridGibbsKernel(),
}
every_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


@every_kernel
def test_draws_at_each_temperature_are_of_its_power_posterior(kernel: Kernel) -> None:
    ladder = replace(LADDER, kernel=kernel, keep_path=True)
    samples = ladder.sample(PROBLEM.model, PROBLEM.x)
    draws = samples.path["z"][..., 0]
    assert draws.shape == (30, 64, 6, 4)
    weight, scale = float(PROBLEM.model.weight), PROBLEM.model.scale  # type: ignore[attr-defined]
    precision = 1 + samples.temperatures[:, None] * weight**2 / scale**2
    mean = samples.temperatures[:, None] * weight * PROBLEM.x[:, 0] / scale**2 / precision
    chains = draws.mean(0)
    assert_within_standard_errors(chains.mean(0), mean, chains.std(0) / 8)
    squares = (draws - mean).square().mean(0)
    assert_within_standard_errors(squares.mean(0), 1 / precision, squares.std(0) / 8)


@every_kernel
def test_path_ends_in_the_latents_and_is_kept_only_if_asked_for(kernel: Kernel) -> None:
    few = replace(LADDER, kernel=kernel, num_chains=4, num_warmup=5, num_samples=6)
    kept = replace(few, keep_path=True).sample(PROBLEM.model, PROBLEM.x)
    assert torch.equal(kept.path["z"][:, :, -1], kept.latents["z"])
    assert few.sample(PROBLEM.model, PROBLEM.x).path == {}


def test_path_of_data_in_blocks_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(LADDER, num_chains=4, num_warmup=5, num_samples=6, keep_path=True)
    monkeypatch.setattr("lvkam_pyro.tracing.program._MAX_VALUES", 100)
    samples = few.sample(PROBLEM.model, PROBLEM.x)
    assert samples.path["z"].shape == (6, 4, 6, 4, 1)
    assert torch.equal(samples.path["z"][:, :, -1], samples.latents["z"])
