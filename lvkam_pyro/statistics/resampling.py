r"""Resampling: equally weighted draws from weighted ones, for each datum by itself.

Every scheme takes log weights `(S, N)` and a number of draws D, and gives indices `(D, N)` in
random order, in which particle s appears :math:`D w_s` times in expectation. What differs is how
much the number of copies varies about that: most with `resample_multinomial`, less with
`resample_residual` and `resample_stratified`, hardly at all with `resample_systematic`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Resampler = Callable[[Tensor, int], Tensor]
"""A scheme of resampling: log weights `(S, N)` and a number of draws D to indices `(D, N)`."""

_ROUNDING = 1e-9


def resample_multinomial(log_weights: Tensor, num_draws: int) -> Tensor:
    r"""Indices of particles drawn independently of each other.

    .. math:: \operatorname{Var} C_s = D w_s (1 - w_s)

    is the variance of the number of copies of particle s. The draws are independent, which none of
    the other schemes' are.

    Args:
        log_weights: Unnormalised log weights `(S, N)`.
        num_draws: Number of draws D for each datum.

    Returns:
        Indices into the first axis, int64 of shape `(D, N)`.

    Raises:
        ValueError: If a datum has no particle with a positive, finite weight.

    References:
        Gordon, N., Salmond, D. and Smith, A. (1993). Novel approach to nonlinear/non-Gaussian
        Bayesian state estimation. https://doi.org/10.1049/ip-f-2.1993.0015

    Example:
        >>> log_weights = torch.tensor([0.0, 1.0]).log()[:, None]
        >>> resample_multinomial(log_weights, 4).squeeze()
        tensor([1, 1, 1, 1])
    """
    weights = _weights(log_weights)
    points = torch.rand(len(weights), num_draws, dtype=weights.dtype, device=weights.device)
    return _invert(weights, points).T


def resample_residual(log_weights: Tensor, num_draws: int) -> Tensor:
    r"""Indices of which :math:`\lfloor D w_s \rfloor` are certain and the rest independent draws.

    Args:
        log_weights: Unnormalised log weights `(S, N)`.
        num_draws: Number of draws D for each datum.

    Returns:
        Indices into the first axis, int64 of shape `(D, N)`, in random order.

    Raises:
        ValueError: If a datum has no particle with a positive, finite weight.

    References:
        Liu, J. and Chen, R. (1998). Sequential Monte Carlo methods for dynamic systems.
        https://doi.org/10.1080/01621459.1998.10473765. Douc, R., Cappe, O. and Moulines, E.
        (2005), section 2.2. https://arxiv.org/abs/cs/0507025

    Example:
        >>> log_weights = torch.tensor([0.25, 0.75]).log()[:, None]
        >>> resample_residual(log_weights, 4).sort(0).values.squeeze()
        tensor([0, 1, 1, 1])
    """
    expected = num_draws * _weights(log_weights)
    # Rounded up where a digit is missing: equal weights are copied once each.
    certain = (expected + _ROUNDING).floor()
    points = torch.rand(len(expected), num_draws, dtype=expected.dtype, device=expected.device)
    drawn = _invert((expected - certain).clamp(min=0), points)
    draws = torch.arange(num_draws, dtype=expected.dtype, device=expected.device)
    copies = certain.cumsum(-1)
    copied = torch.searchsorted(copies, draws.expand_as(points).contiguous(), right=True)
    return _shuffle(torch.where(draws < copies[:, -1:], copied, drawn)).T


def resample_stratified(log_weights: Tensor, num_draws: int) -> Tensor:
    r"""Indices drawn by one uniform draw in each of D equal parts of the cumulated weights.

    Args:
        log_weights: Unnormalised log weights `(S, N)`.
        num_draws: Number of draws D for each datum.

    Returns:
        Indices into the first axis, int64 of shape `(D, N)`, in random order.

    Raises:
        ValueError: If a datum has no particle with a positive, finite weight.

    References:
        Kitagawa, G. (1996). Monte Carlo filter and smoother for non-Gaussian nonlinear state space
        models. https://doi.org/10.1080/10618600.1996.10474692. Douc, R., Cappe, O. and Moulines,
        E. (2005), section 2.3. https://arxiv.org/abs/cs/0507025

    Example:
        >>> log_weights = torch.tensor([0.25, 0.75]).log()[:, None]
        >>> resample_stratified(log_weights, 4).sort(0).values.squeeze()
        tensor([0, 1, 1, 1])
    """
    weights = _weights(log_weights)
    offsets = torch.rand(len(weights), num_draws, dtype=weights.dtype, device=weights.device)
    return _shuffle(_invert(weights, _strata(offsets))).T


def resample_systematic(log_weights: Tensor, num_draws: int) -> Tensor:
    r"""Indices drawn at D equally spaced points of the cumulated weights, shifted by one uniform.

    Particle s is drawn :math:`\lfloor D w_s \rfloor` or :math:`\lceil D w_s \rceil` times.
    Such indices are sorted; they are shuffled for each datum, so that successive draws are no
    more alike than distant ones.

    Args:
        log_weights: Unnormalised log weights `(S, N)`.
        num_draws: Number of draws D for each datum.

    Returns:
        Indices into the first axis, int64 of shape `(D, N)`, in random order.

    Raises:
        ValueError: If a datum has no particle with a positive, finite weight.

    References:
        Douc, R., Cappe, O. and Moulines, E. (2005). Comparison of resampling schemes for particle
        filtering, section 2.4. https://arxiv.org/abs/cs/0507025

    Example:
        >>> log_weights = torch.tensor([0.25, 0.75]).log()[:, None]
        >>> resample_systematic(log_weights, 4).sort(0).values.squeeze()
        tensor([0, 1, 1, 1])
    """
    return _shuffle(systematic_indices(_weights(log_weights), num_draws)).T


def systematic_indices(weights: Tensor, num_draws: int) -> Tensor:
    """Sorted indices at equally spaced points of the cumulated weights of each row.

    Args:
        weights: Unnormalised weights `(..., S)`, of positive sum.
        num_draws: Number of draws D for each row.

    Returns:
        Indices int64 `(..., D)`.

    Example:
        >>> systematic_indices(torch.tensor([1.0, 0.0, 3.0]), 4)
        tensor([0, 2, 2, 2])
    """
    offset = torch.rand(*weights.shape[:-1], 1, dtype=weights.dtype, device=weights.device)
    return _invert(weights, _strata(offset.expand(*weights.shape[:-1], num_draws)))


def _weights(log_weights: Tensor) -> Tensor:
    """Weights `(N, S)` in double precision that sum to one."""
    weights = log_weights.double().softmax(0).T
    bad = ~weights.isfinite().all(-1)
    if bad.any():
        raise ValueError(
            "Expected a particle of finite, positive weight for each datum, got none for "
            f"{bad.nonzero().squeeze(-1).tolist()}. "
            "Propose from a guide that covers the posterior, or drop these data."
        )
    return weights


def _strata(offsets: Tensor) -> Tensor:
    """Points in D equal parts of the unit interval, by offsets `(..., D)` within them."""
    num_draws = offsets.shape[-1]
    parts = torch.arange(num_draws, dtype=offsets.dtype, device=offsets.device)
    return (parts + offsets) / num_draws


def _invert(weights: Tensor, points: Tensor) -> Tensor:
    """The particles at points `(..., D)` of the unit interval of the cumulated weights."""
    cumulated = weights.cumsum(-1).contiguous()
    # Above zero, where a first particle without weight would be found.
    marks = (points * cumulated[..., -1:]).clamp(min=torch.finfo(points.dtype).tiny)
    return torch.searchsorted(cumulated, marks).clamp(max=weights.shape[-1] - 1)


def _shuffle(index: Tensor) -> Tensor:
    """Each row of `(N, D)` in a random order."""
    return index.gather(-1, torch.rand(index.shape, device=index.device).argsort(-1))
