"""New data of a bound program: of given latents, of new ones, stacked or one by one."""

from collections.abc import Callable
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from tests.assertions import assert_within_standard_errors

X = torch.tensor([0.5, -1.0, 2.0])
NUM_DRAWS = 4000


def of_each_datum(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(1.0, 2.0))
        pyro.deterministic("double", 2 * z)
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def of_all_data(x: Tensor) -> None:
    z = pyro.sample("z", dist.Normal(1.0, 2.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def drawn(program: lv.tracing.BoundProgram, num_draws: int, latents: dict[str, Tensor]) -> Tensor:
    with program.session(seed=0):
        runs = program.predict(num_draws, latents)
    return torch.cat([run.sites["x"]["value"].reshape(-1, len(X)) for run in runs]).double()


@pytest.mark.parametrize("model", [of_each_datum, of_all_data])
@pytest.mark.parametrize("stacks", [True, False])
def test_new_data_of_given_latents(model: Callable[[Tensor], None], stacks: bool) -> None:
    program = replace(lv.bind(model, X), stacks=stacks)
    num_draws = NUM_DRAWS if stacks else NUM_DRAWS // 10
    found = drawn(program, num_draws, {"z": torch.full((num_draws, program.num_units), 3.0)})
    assert found.shape == (num_draws, 3)
    error = torch.full((3,), 0.5 / num_draws**0.5).double()
    assert_within_standard_errors(found.mean(0), torch.full((3,), 3.0).double(), error)


@pytest.mark.parametrize("model", [of_each_datum, of_all_data])
def test_new_data_of_new_latents(model: Callable[[Tensor], None]) -> None:
    found = drawn(lv.bind(model, X), NUM_DRAWS, {})
    variance = torch.full((3,), 4.25).double()
    assert_within_standard_errors(
        found.mean(0), torch.ones(3).double(), (variance / NUM_DRAWS).sqrt()
    )
    assert_within_standard_errors(found.var(0), variance, variance * (2 / NUM_DRAWS) ** 0.5)


def test_what_is_computed_is_recorded_apart() -> None:
    run = lv.bind(of_each_datum, X).record({"z": torch.ones(4, 3)})
    assert set(run.sites) == {"z", "x"}
    assert torch.equal(run.computed["double"]["value"], torch.full((4, 3), 2.0))


def test_a_tensor_among_the_arguments_is_substituted() -> None:
    arguments = lv.bind(lambda x, y: of_each_datum(x), X, {"y": [X]}).arguments
    found = arguments.substitute(X, X + 1)
    assert torch.equal(found.args[0], X + 1)
    assert torch.equal(found.args[1]["y"][0], X + 1)


def indexing_from_the_left(x: Tensor) -> None:
    """The first weight of a run alone is the first draw of many."""
    weights = pyro.sample("weights", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(weights[0] + 0 * x, 1.0), obs=x)


def test_particles_one_by_one_have_the_shapes_of_a_run_alone() -> None:
    program = lv.bind(indexing_from_the_left, X)
    assert program.maps
    weights = torch.randn(5, 1, 2)
    _, log_likelihood = program.at({"weights": weights})
    expected = dist.Normal(weights[:, :, 0], 1.0).log_prob(X).sum(-1, keepdim=True)
    torch.testing.assert_close(log_likelihood, expected)
