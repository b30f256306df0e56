"""Weights that nothing can stand on are marked."""

import numpy as np
import torch

import lvkam_pyro as lv


def test_weights_beyond_the_limits_are_marked() -> None:
    log_weights = torch.cat([torch.randn(2000, 5), 12 * torch.randn(2000, 2)], 1)
    check = lv.checks.check_weights(log_weights)
    left, right = lv.plots.importance_weights(check)
    for axes in (left, right):
        good, bad = axes.get_lines()[:2]
        assert good.get_xdata().tolist() == check.failed.logical_not().nonzero()[:, 0].tolist()
        assert bad.get_xdata().tolist() == check.failed.nonzero()[:, 0].tolist() == [5, 6]


def test_weight_that_cannot_be_fitted_is_drawn_at_the_top() -> None:
    left, _ = lv.plots.importance_weights(lv.checks.check_weights(torch.randn(10, 4)))
    assert np.isfinite(left.get_lines()[1].get_ydata()).all()
