"""Shapes of distributions: what broadcasts, and what `to_event` wraps."""

import copy

import pyro.distributions as dist
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lvkam_pyro.distributions.shapes import broadcasts_to, expanded, without_events

SIZES = st.lists(st.integers(1, 3), max_size=3)


@given(SIZES, SIZES)
def test_broadcasts_as_torch_does(shape: list[int], target: list[int]) -> None:
    try:
        expected = torch.empty(shape).expand(target).shape == torch.Size(target)
    except RuntimeError:
        expected = False
    assert broadcasts_to(shape, target) == expected


def test_expansion_is_refused_with_both_shapes() -> None:
    normal = dist.Normal(torch.zeros(2, 5), 1.0)
    with pytest.raises(ValueError, match=r"\(2, 5\) broadcasts to, got \(3, 3\)"):
        expanded(normal, (3, 3), copy.copy(normal))


def test_every_wrapper_is_taken_off_and_no_other_distribution() -> None:
    normal = dist.Normal(torch.zeros(2, 3, 5), 1.0)
    assert without_events(normal.to_event(1).to_event(2)) is normal
    joint = dist.MultivariateNormal(torch.zeros(2), torch.eye(2))
    assert without_events(joint) is joint
