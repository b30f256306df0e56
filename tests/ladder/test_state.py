"""Exchange of states between temperatures: invariance, refused states bit for bit as before."""

import pytest
import torch

from lvkam_pyro.ladder.state import GradientState, exchange, exchange_probability


def random_state(shape: tuple[int, int, int, int]) -> GradientState:
    vectors, numbers = torch.randn(3, *shape), torch.randn(2, *shape[:3])
    return GradientState(vectors[0], numbers[0], numbers[1], vectors[1], vectors[2])


def test_exchange_leaves_the_product_of_tempered_laws_invariant() -> None:
    # Two states 0 and 1 with log likelihoods l, temperatures 0.2 and 0.9: detailed balance.
    log_likelihood, low, high = torch.tensor([-0.3, 1.1], dtype=torch.float64), 0.2, 0.9
    law_low = (low * log_likelihood).softmax(0)
    law_high = (high * log_likelihood).softmax(0)
    joint = law_low[:, None] * law_high[None, :]
    gap = torch.tensor(high - low)
    accept = exchange_probability(log_likelihood[:, None], log_likelihood[None, :], gap)
    flow = joint * accept
    torch.testing.assert_close(flow, flow.T)


@pytest.mark.parametrize("num_temperatures", [2, 5, 6])
@pytest.mark.parametrize("first", [0, 1])
def test_exchange_moves_whole_states_and_leaves_refused_ones(
    num_temperatures: int, first: int
) -> None:
    state = random_state((num_temperatures, 4, 3, 2))
    temperatures = torch.linspace(0, 1, num_temperatures)
    after, accepted, probability = exchange(state, temperatures, first=first)
    assert probability.shape == ((num_temperatures - first) // 2, 4, 3)
    moved = after.log_likelihood != state.log_likelihood
    assert torch.equal(moved[first::2][: len(accepted)], accepted)
    for mine, theirs in zip(after.tensors, state.tensors, strict=True):
        assert torch.equal(mine[~moved], theirs[~moved])
    for lower in range(first, num_temperatures - 1, 2):
        pair = moved[lower]
        assert torch.equal(moved[lower], moved[lower + 1])
        for mine, theirs in zip(after.tensors, state.tensors, strict=True):
            assert torch.equal(mine[lower][pair], theirs[lower + 1][pair])
            assert torch.equal(mine[lower + 1][pair], theirs[lower][pair])


def test_an_impossible_state_falls_to_the_prior() -> None:
    lowest = torch.tensor(-torch.inf)
    assert exchange_probability(torch.tensor(0.0), lowest, torch.tensor(0.5)) == 1
    assert exchange_probability(lowest, torch.tensor(0.0), torch.tensor(0.5)) == 0
    assert exchange_probability(lowest, lowest, torch.tensor(0.5)) == 0
