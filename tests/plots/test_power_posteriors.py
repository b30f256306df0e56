"""Ridges are the densities of draws, also at the ends of a support."""

from dataclasses import replace

import torch

import lvkam_pyro as lv
from tests.plots import results


def test_ridges_do_not_fall_where_a_support_ends() -> None:
    flat, peaked = torch.rand(50, 40), 0.5 + 0.02 * torch.randn(50, 40)
    draws = torch.stack([flat, peaked], 2)[..., None]
    samples = replace(
        results.climb_path(), temperatures=torch.tensor([0.0, 1.0]), path={"z": draws}
    )
    (axes,) = lv.plots.power_posteriors(samples)
    posterior, prior = (line.get_ydata() for line in axes.get_lines())
    assert prior.min() > 0.7 * prior.max()
    assert posterior[100] - 1 > 1.7
    assert posterior[0] - 1 < 0.01
