"""Standard errors from replicates: the delete-one jackknife."""

import torch
from torch import Tensor


def jackknife_error(leave_one_out: Tensor) -> Tensor:
    r"""The standard error of an estimate from its delete-one values.

    .. math:: \sqrt{\tfrac{R - 1}{R} \sum_r (\hat\theta_{(-r)} - \bar\theta_{(-\cdot)})^2}

    Efron and Stein, *The jackknife estimate of variance* (Annals of Statistics 9, 1981,
    https://doi.org/10.1214/aos/1176345462), equation 1.3.

    Args:
        leave_one_out: `(R, ...)`, the estimate without each replicate.

    Returns:
        The standard error, of the remaining shape; infinite where a value is not finite.

    Example:
        >>> x = torch.tensor([1.0, 2.0, 3.0, 4.0])
        >>> jackknife_error(leave_one_out_mean(x)), x.std() / 2
        (tensor(0.6455), tensor(0.6455))
    """
    num_replicates = len(leave_one_out)
    squares = leave_one_out.var(0, unbiased=False) * (num_replicates - 1)
    return squares.sqrt().nan_to_num(torch.inf, torch.inf)


def leave_one_out_mean(values: Tensor) -> Tensor:
    """The means over the replicates without each one, `(R, ...)`.

    Example:
        >>> leave_one_out_mean(torch.tensor([0.0, 3.0, 6.0]))
        tensor([4.5000, 3.0000, 1.5000])
    """
    return (values.sum(0) - values) / (len(values) - 1)


def leave_one_out_log_mean_exp(log_values: Tensor) -> Tensor:
    """The log of the mean of exp over the replicates without each one, `(R, ...)`.

    Example:
        >>> leave_one_out_log_mean_exp(torch.tensor([0.0, 3.0, 6.0]).log())[2].exp()
        tensor(1.5000)
    """
    keep = ~torch.eye(len(log_values), dtype=torch.bool, device=log_values.device)
    return torch.stack([log_mean_exp(log_values[others]) for others in keep])


def log_mean_exp(log_values: Tensor, dim: int | tuple[int, ...] = 0) -> Tensor:
    """The log of the mean of exp, never the mean of logs.

    Example:
        >>> log_mean_exp(torch.tensor([1.0, 3.0]).log()).exp()
        tensor(2.)
    """
    count = torch.ones_like(log_values).sum(dim)
    return log_values.logsumexp(dim) - count.log()
