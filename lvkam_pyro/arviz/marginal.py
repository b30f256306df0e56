r"""Draws of the marginal log-likelihood :math:`\log p(x_n)`: what `az.loo` looks at.

With the parameters fixed, :math:`\log p(x_n)` is one number a datum, known up to the error of its
estimate. ArviZ wants draws of it. A draw here is a draw from the estimate's own sampling law, so
that the draws' mean is the estimate, their spread is its standard error, and `p_loo` is the Monte
Carlo error in nats (0 if exact) instead of a number of parameters. Independent small estimates
would not do: `az.loo` takes their harmonic mean, which is too low by their whole variance.
"""

import torch
from torch import Tensor

from lvkam_pyro.evidence.evidence import Evidence

_NUM_ROUNDINGS = 4.0
"""Standard deviation of the noise that parts equal draws, in roundings of their values."""


def bootstrap_importance(log_weights: Tensor, num_draws: int) -> Tensor:
    r"""Bayesian bootstrap of the importance-sampling estimate.

    .. math:: \log \frac{\sum_s g_s w_{sn}}{\sum_s g_s}, \qquad g_s \sim \mathrm{Exponential}(1)

    The :math:`g_s` are shared by all data, so that totals over the data have the spread that shared
    particles give them.

    Args:
        log_weights: Log weights `(S, N)`.
        num_draws: Number of draws D.

    Returns:
        Draws `(D, N)`.

    References:
        Rubin, D. B. (1981). The Bayesian bootstrap. Annals of Statistics 9, 130-134.
        https://doi.org/10.1214/aos/1176345338

    Example:
        >>> bootstrap_importance(torch.full((100, 3), -2.0), 5).shape
        torch.Size([5, 3])
    """
    shares = torch.empty(num_draws, len(log_weights)).exponential_().to(log_weights)
    shares = shares / shares.sum(-1, keepdim=True)
    largest = log_weights.amax(0).clamp(min=torch.finfo(log_weights.dtype).min)
    return _without_ties((shares @ (log_weights - largest).exp()).log() + largest)


def draw_estimate(evidence: Evidence, num_draws: int) -> Tensor:
    """Normal draws around an estimate, with its standard error.

    Args:
        evidence: An estimate for each datum.
        num_draws: Number of draws D.

    Returns:
        Draws `(D, N)`.
    """
    noise = torch.randn(num_draws, len(evidence.log_evidence)).to(evidence.log_evidence)
    return _without_ties(evidence.log_evidence + evidence.standard_error * noise)


def _without_ties(draws: Tensor) -> Tensor:
    """The draws in double precision with noise of the size of their rounding.

    Those of an exact evidence are all equal, and `az.loo` takes a tail of equal values for one
    without a fit, and warns.
    """
    rounding = _NUM_ROUNDINGS * torch.finfo(draws.dtype).eps * draws.abs().clamp(min=1.0)
    noise = torch.randn(draws.shape, dtype=draws.dtype).to(draws)
    return draws.double() + torch.where(draws.isfinite(), rounding * noise, 0.0).double()
