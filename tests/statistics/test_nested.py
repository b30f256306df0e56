"""Volumes of nested sampling: ties, islands, against what is known by counting."""

import torch
from torch import Tensor

from lvkam_pyro.statistics.nested import NestedRecord


def record(*islands: list[tuple[float, int]], num_start: int) -> NestedRecord:
    """Islands' events, deaths before births: pairs of a level and a change."""
    level = torch.tensor([[level for level, _ in island] for island in islands]).double()
    change = torch.tensor([[change for _, change in island] for island in islands])
    return NestedRecord(level.T[..., None], change.T[..., None], num_start)


TIED = [(0.0, -1), (0.0, -1), (1.0, -1), (1.0, -1), (1.0, -1), (1.0, -1), (0.0, 2)]


def shares(of: NestedRecord) -> Tensor:
    """The prior's mass at each level of 0 and 1."""
    mass, level = of.log_volumes().exp().flatten(), of.level.flatten()
    return torch.stack([mass[level == value].sum() for value in (0.0, 1.0)])


def test_points_of_equal_likelihood_have_the_mass_of_their_share() -> None:
    half = torch.tensor([0.5, 0.5]).double()
    torch.testing.assert_close(shares(record(TIED, num_start=4)), half)
    # Merged, none is born at a level before all that are tied there have died.
    torch.testing.assert_close(shares(record(TIED, TIED, num_start=4)), half)


def test_points_that_are_replaced_one_by_one_shrink_the_volume() -> None:
    events = [(0.0, -1), (1.0, -1), (2.0, -1), (3.0, -1), (0.0, 1), (1.0, 1)]
    mass = record(events, num_start=2).log_volumes().exp().flatten()
    expected = torch.tensor([1 / 2, 1 / 4, 1 / 8, 1 / 8, 0.0, 0.0]).double()
    torch.testing.assert_close(mass, expected)


def test_nothing_is_lost_and_an_island_that_ended_early_takes_no_part_later() -> None:
    short = [(0.0, -1), (0.5, -1), (9.0, 0), (9.0, 0), (9.0, 0)]
    long = [(0.2, -1), (0.7, -1), (3.0, -1), (4.0, -1), (0.7, 2)]
    both = record(short, long, num_start=2)
    assert torch.allclose(both.log_volumes().exp().sum(), torch.ones(()).double())
    alone = [record(one, num_start=2).log_evidence() for one in (long, short)]
    torch.testing.assert_close(both.leave_one_out(), torch.stack(alone))


def test_impossible_points_have_mass_and_no_evidence() -> None:
    events = [(-torch.inf, -1), (0.0, -1)]
    log_evidence, information = record(events, num_start=2).log_evidence_and_information()
    torch.testing.assert_close(log_evidence.exp(), torch.tensor([0.5]).double())
    torch.testing.assert_close(information, torch.tensor(2.0).log().double()[None])
    assert record([events[0]], num_start=1).log_evidence() == -torch.inf
