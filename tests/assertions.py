"""Tolerances that come from errors: one failure rate for the whole suite, never a bare number."""

import torch
from scipy.stats import norm
from torch import Tensor

TEST_FAILURE_RATE = 2e-5
"""The chance that a correct program fails one statistical assertion."""


def assert_within_standard_errors(
    estimate: Tensor, exact: Tensor, standard_error: Tensor, *, extra: Tensor | float = 0.0
) -> None:
    """Every |estimate - exact| lies within the standard errors that TEST_FAILURE_RATE allows.

    The limit is Bonferroni's for the number of values; `extra` is a known deterministic error.
    """
    estimate, exact = torch.broadcast_tensors(estimate, exact)
    limit = float(norm.isf(TEST_FAILURE_RATE / 2 / estimate.numel()))
    distance = ((estimate - exact).abs() - extra).clamp(min=0) / standard_error
    assert distance.max() <= limit, f"{distance.max():.2f} standard errors, limit {limit:.2f}"


def assert_p_value(p_value: float) -> None:
    """A goodness-of-fit test does not reject at the suite's failure rate."""
    assert p_value > TEST_FAILURE_RATE, f"p = {p_value:.2e}"
