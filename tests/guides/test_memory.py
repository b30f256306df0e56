"""Chains that go on: found by the datum's row, at the posterior of the parameters as they are."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.additive.model import AdditiveModel
from lvkam_pyro.additive.tables import AdditiveTables
from lvkam_pyro.guides.memory import ChainMemory, memory_of, remembering
from lvkam_pyro.tracing.bind import bind
from tests.assertions import assert_within_standard_errors
from tests.tracing import models


def test_what_is_kept_for_rows_is_found_by_other_batches_of_them() -> None:
    memory, values = ChainMemory(), torch.randn(10, 3)
    order = torch.randperm(10)
    for rows in order.split(4):
        with memory.at(rows, 10):
            memory.keep({"a": values[rows], "b": values[rows, 0]})
    for rows in torch.randperm(10).split(3):
        with memory.at(rows, 10):
            found = memory.recall()
        assert torch.equal(found["a"], values[rows])
        assert torch.equal(found["b"], values[rows, 0])


def test_a_later_state_takes_the_place_of_the_earlier_one() -> None:
    memory, rows = ChainMemory(), torch.arange(3)
    for value in (1.0, 2.0):
        with memory.at(rows, 3):
            memory.keep({"a": torch.full((3, 2), value)})
    with memory.at(rows, 3):
        assert torch.equal(memory.recall()["a"], torch.full((3, 2), 2.0))


@pytest.mark.parametrize("states", [{"a": torch.zeros(2, 4)}, {"b": torch.zeros(2, 3)}])
def test_states_of_other_chains_make_it_forget(states: dict[str, Tensor]) -> None:
    memory = ChainMemory()
    with memory.at(torch.arange(4), 4):
        memory.keep({"a": torch.zeros(4, 3)})
    with memory.at(torch.tensor([0, 1]), 4):
        memory.keep(states)
        assert memory.recall() is not None
    with memory.at(torch.tensor([1, 2]), 4):
        assert memory.recall() is None


def test_other_data_are_not_known() -> None:
    memory = ChainMemory()
    with memory.at(torch.arange(4), 4):
        memory.keep({"a": torch.zeros(4, 3)})
    with memory.at(torch.arange(4), 5):
        assert memory.recall() is None
    with memory.at(torch.arange(4), 4):
        assert not memory.is_for(3)
    assert not memory.is_for(4)
    with pytest.raises(RuntimeError, match="no row to remember"):
        memory.recall()


def test_a_state_dict_restores_it() -> None:
    memory, restored = ChainMemory(), ChainMemory()
    with memory.at(torch.tensor([2, 0]), 3):
        memory.keep({"a": torch.tensor([[5.0], [7.0]])})
    restored.load_state_dict(memory.state_dict())
    with restored.at(torch.tensor([0, 2]), 3):
        assert torch.equal(restored.recall()["a"], torch.tensor([[7.0], [5.0]]))
    with restored.at(torch.tensor([1]), 3):
        assert restored.recall() is None
    with pytest.raises(ValueError, match="state of a ChainMemory"):
        restored.load_state_dict({"a": 1})


def test_a_guide_without_chains_has_none() -> None:
    model = models.LinearGaussian(2, 3)
    assert memory_of(lv.PriorGuide(model)) is None
    assert memory_of(lv.guides.GridGibbsGuide(model)) is None
    assert memory_of(torch.nn.Module()) is None


def test_positions_go_back_to_their_nodes() -> None:
    model = models.LinearGaussian(2, 3)
    x = model.sample(2)
    tables = AdditiveTables.of(AdditiveModel.of(bind(model, x)))
    nodes = torch.randint(tables.num_nodes, (50, 4, 2))
    assert torch.equal(tables.nodes_at(tables.position(nodes)), nodes)
    outside = torch.tensor([[-1e6, 1e6]]).double()
    assert tables.nodes_at(outside).tolist() == [[0, tables.num_nodes - 1]]


GUIDES: dict[str, Callable[[object], object]] = {
    "grid Gibbs": lambda model: lv.guides.GridGibbsGuide(
        model, num_sweeps=1, num_nodes=400, persistent=True
    ),
    "ladder": lambda model: lv.guides.LadderGuide(
        model, num_temperatures=5, num_steps=2, num_warmup=20
    ),
    "nuts": lambda model: lv.guides.NUTSGuide(model, num_warmup=5, max_tree_depth=3),
}
NUM_CALLS, NUM_DRAWS = {"nuts": 30}, 16


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.slow if name == "nuts" else ()) for name in GUIDES]
)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def posterior_mean(model: models.LinearGaussian, x: Tensor) -> Tensor:
    """The exact mean, `(N, Q)`."""
    weight = model.weight.double()
    precision = torch.eye(weight.shape[1]).double() + weight.T @ weight / model.scale**2
    return torch.linalg.solve(precision, weight.T @ x.T.double() / model.scale**2).T


def test_chains_that_go_on_have_the_posterior_of_the_parameters_as_they_are(name: str) -> None:
    """They begin at other parameters; batches are in another order each time."""
    model = models.LinearGaussian(2, 3)
    x = model.sample(4)
    guide = GUIDES[name](model)
    kept = model.weight.clone()
    model.weight = kept + 0.5
    sums = []
    for call in range(NUM_CALLS.get(name, 60) + 5):
        if call == 2:
            model.weight = kept
        order = torch.randperm(4)
        with remembering(guide, order, 4), torch.no_grad():
            particles = lv.draw_particles(model, guide, x[order], num_particles=NUM_DRAWS)
        if call >= 5:
            sums.append(particles.latents["z"].double()[:, order.argsort()].mean(0))
    means = torch.stack(sums)
    # Batches of calls, as successive states of a chain depend on each other.
    blocks = torch.stack([block.mean(0) for block in means.tensor_split(10)])
    exact = posterior_mean(model, x)
    assert_within_standard_errors(blocks.mean(0), exact, blocks.std(0) / len(blocks) ** 0.5)


def test_all_weights_of_a_datum_are_equal(name: str) -> None:
    model = models.LinearGaussian(2, 3)
    x = model.sample(4)
    guide = GUIDES[name](model)
    for _ in range(2):
        with remembering(guide, torch.arange(4), 4), torch.no_grad():
            particles = lv.draw_particles(model, guide, x, num_particles=NUM_DRAWS)
        # The nodes of grid Gibbs are cells, in which the density is nearly the same.
        spread = particles.log_weights - particles.log_weights.mean(0)
        assert spread.abs().max() < 0.2


def test_held_out_data_leave_the_chains_alone(name: str) -> None:
    model = models.LinearGaussian(2, 3)
    x = model.sample(4)
    guide = GUIDES[name](model)
    with torch.no_grad():
        with remembering(guide, torch.arange(4), 4):
            lv.draw_particles(model, guide, x, num_particles=NUM_DRAWS)
        before = {key: value.clone() for key, value in guide.memory.state_dict()["states"].items()}
        lv.draw_particles(model, guide, x + 1, num_particles=NUM_DRAWS)
    after = guide.memory.state_dict()["states"]
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_ladders_weights_estimate_the_evidence() -> None:
    model = models.LinearGaussian(2, 3)
    x = model.sample(4)
    guide = lv.guides.LadderGuide(model, num_temperatures=6, num_steps=4, num_warmup=40)
    estimates = []
    for _ in range(60):
        with remembering(guide, torch.arange(4), 4), torch.no_grad():
            particles = lv.draw_particles(model, guide, x, num_particles=32)
        estimates.append(particles.log_evidence.double())
    estimates = torch.stack(estimates)
    exact = model.exact(x)
    # exp of an estimate is unbiased: its log is below by half the variance.
    mean = (estimates - exact).exp().mean(0)
    error = (estimates - exact).exp().std(0) / math.sqrt(15)
    assert_within_standard_errors(mean, torch.ones(4).double(), error)


def test_one_draw_alone_is_no_ladder() -> None:
    model = models.LinearGaussian(2, 3)
    with pytest.raises(ValueError, match="num_particles >= 2"):
        lv.draw_particles(model, lv.guides.LadderGuide(model), model.sample(3), num_particles=1)
