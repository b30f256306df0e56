"""Standard errors from replicates, against their closed forms."""

import torch

from lvkam_pyro.statistics.jackknife import (
    jackknife_error,
    leave_one_out_log_mean_exp,
    leave_one_out_mean,
    log_mean_exp,
)


def test_the_error_of_a_mean_is_the_usual_one() -> None:
    values = torch.randn(10, 3, dtype=torch.float64)
    error = jackknife_error(leave_one_out_mean(values))
    torch.testing.assert_close(error, values.std(0) / 10**0.5)


def test_the_error_of_a_log_mean_is_the_deltas() -> None:
    values = 1 + 0.01 * torch.randn(20, 2, dtype=torch.float64)
    error = jackknife_error(leave_one_out_log_mean_exp(values.log()))
    torch.testing.assert_close(error, values.std(0) / values.mean(0) / 20**0.5, rtol=1e-3, atol=0)


def test_leaving_out_the_largest_does_not_cancel() -> None:
    log_values = torch.tensor([0.0, 0.0, 200.0], dtype=torch.float64)
    assert leave_one_out_log_mean_exp(log_values)[2] == 0
    assert log_mean_exp(log_values) == 200 - torch.tensor(3.0, dtype=torch.float64).log()


def test_replicates_without_any_weight_have_an_infinite_error() -> None:
    log_values = torch.full((4, 1), -torch.inf)
    log_values[0] = 0.0
    assert jackknife_error(leave_one_out_log_mean_exp(log_values)) == torch.inf
