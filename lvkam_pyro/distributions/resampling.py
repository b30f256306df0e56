"""Resampling: equally weighted draws from weighted ones, for each datum by itself."""

import torch
from torch import Tensor


def resample_systematic(log_weights: Tensor, num_draws: int) -> Tensor:
    r"""Indices of particles drawn in proportion to their weights, in random order.

    One uniform number a datum places a comb of `num_draws` teeth on the cumulated weights: particle
    s is drawn :math:`\lfloor D w_s \rfloor` or :math:`\lceil D w_s \rceil` times, and
    :math:`D w_s` times in expectation. The comb leaves the indices sorted; they are shuffled for
    each datum, so that successive draws are no more alike than distant ones.

    Args:
        log_weights: Unnormalised log weights `(S, N)`.
        num_draws: Number of draws D for each datum.

    Returns:
        Indices into the first axis, int64 of shape `(D, N)`.

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
    cumulated = log_weights.double().softmax(0).cumsum(0).T.contiguous()
    if not cumulated.isfinite().all():
        bad = (~cumulated.isfinite().all(-1)).nonzero().squeeze(-1).tolist()
        raise ValueError(
            f"Expected a particle of finite, positive weight for each datum, got none for {bad}. "
            "Propose from a guide that covers the posterior, or drop these data."
        )
    teeth = torch.arange(num_draws, dtype=cumulated.dtype, device=cumulated.device)
    comb = teeth + torch.rand_like(cumulated[:, :1])
    index = torch.searchsorted(cumulated, comb / num_draws).clamp(max=len(log_weights) - 1)
    order = torch.rand(index.shape, device=index.device).argsort(-1)
    return index.gather(-1, order).T
