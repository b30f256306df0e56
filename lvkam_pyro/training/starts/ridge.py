"""Penalised regressions on given features: of measurements, and of log odds."""

from collections.abc import Callable

import torch
from torch import Tensor

_NUM_STEPS = 50


def ridge_regression(features: Tensor, x: Tensor, ridge: float) -> Tensor:
    r"""Coefficients that reproduce `x` from features, the large ones penalised.

    .. math:: C = \arg\min_C \; |x - F C|^2 + \lambda |C|^2

    Args:
        features: F, `(N, F)`.
        x: `(N, O)`.
        ridge: :math:`\lambda`.

    Returns:
        `(F, O)`, solved in double precision.

    Example:
        >>> ridge_regression(torch.eye(2), torch.tensor([[2.0], [4.0]]), 1.0)
        tensor([[1.],
                [2.]])
    """
    gram = _gram(features, 1.0, ridge)
    solution = torch.linalg.solve(gram, features.T.double() @ x.double())
    return solution.to(x.dtype)


def ridge_log_odds(
    features: Tensor,
    log_likelihood: Callable[[Tensor], Tensor],
    num_outputs: int,
    *,
    ridge: float,
    curvature: float,
) -> Tensor:
    r"""Coefficients of the log odds of discrete data, by a ridge-penalised logistic regression.

    .. math:: C = \arg\max_C \; \sum_n \log p\big(x_n \mid (F C)_n\big)
              - \tfrac{\lambda}{2} |C|^2

    by steps with one bound of the Hessian for all outputs, none of which goes downhill (Boehning
    and Lindsay 1988, https://doi.org/10.1007/BF00049423):

    .. math:: C \leftarrow C + (c F'F + \lambda I)^{-1} (F' \nabla \log p - \lambda C)

    Args:
        features: F, `(N, F)`.
        log_likelihood: From log odds `(N, O)` to the data's log likelihoods `(N,)`, concave.
        num_outputs: O.
        ridge: :math:`\lambda`, positive.
        curvature: c, no less than any eigenvalue of the negative Hessian of a log likelihood: 1/4
            of zeros and ones, 1/2 of categories.

    Returns:
        `(F, O)`, after 50 steps: there, but for log odds that the data drive far from zero.

    Example:
        >>> x = torch.tensor([[1.0], [1.0], [1.0], [0.0]])
        >>> def log_prob(m):
        ...     return (x * m - torch.nn.functional.softplus(m)).sum(-1)
        >>> m = ridge_log_odds(torch.ones(4, 1), log_prob, 1, ridge=0.5, curvature=0.25)
        >>> bool((3 - 4 * m.sigmoid() - 0.5 * m).abs() < 1e-5)  # The gradient.
        True
    """
    factor = torch.linalg.cholesky(_gram(features, curvature, ridge)).to(features.dtype)
    coefficients = features.new_zeros(features.shape[1], num_outputs)
    for _ in range(_NUM_STEPS):
        uphill = features.T @ _gradient(log_likelihood, features @ coefficients)
        coefficients += torch.cholesky_solve(uphill - ridge * coefficients, factor)
    return coefficients


def _gradient(log_likelihood: Callable[[Tensor], Tensor], outputs: Tensor) -> Tensor:
    with torch.enable_grad():
        outputs = outputs.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(log_likelihood(outputs).sum(), outputs)
    return gradient


def _gram(features: Tensor, curvature: float, ridge: float) -> Tensor:
    double = features.double()
    return curvature * double.T @ double + ridge * torch.eye(features.shape[1]).to(double)
