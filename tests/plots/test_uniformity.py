"""The least uniform samples are named."""

import numpy as np
import torch

import lvkam_pyro as lv


def test_ecdf_difference_is_named_by_the_least_uniform() -> None:
    values = torch.rand(100, 9)
    values[:, 4] = values[:, 4].square()
    found = lv.statistics.check_uniformity(values)
    axes = lv.plots.ecdf_difference(found, names="abcdefghi")
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert "e" in lines
    assert sum(name in lines for name in "abcdefghi") == 5
    drawn = lines["e"].get_ydata()[1:-1]
    assert np.allclose(drawn, (found.ecdf[4] - found.points).numpy())
