"""Exchange of states between neighbouring temperatures, per chain and datum."""

import math

import torch
from torch import Tensor

from lvkam_pyro.ladder.chains import LadderState


def exchange(state: LadderState, temperatures: Tensor, *, first: int) -> tuple[LadderState, Tensor]:
    r"""Offer an exchange to the pairs (first, first + 1), (first + 2, first + 3), ...

    .. math:: \log r = (t_{k+1} - t_k) (l_k - l_{k+1})

    leaves the product of the power posteriors invariant (Geyer 1991). Even and odd pairs in turn
    make the deterministic even-odd scheme of Okabe et al. (2001), in which states travel fastest.

    Args:
        state: Where the chains stand.
        temperatures: `(T,)`.
        first: 0 for the even pairs, 1 for the odd ones.

    Returns:
        The state after the exchange (refused pairs bit for bit as before) and the probability of
        each offered exchange, of shape `(pairs, C, N)`.

    Example:
        >>> l = torch.tensor([3.0, 1.0]).reshape(2, 1, 1)
        >>> vectors = l[..., None]
        >>> state = LadderState(vectors, l, l, vectors, vectors)
        >>> exchange(state, torch.tensor([0.0, 1.0]), first=0)[0].position.squeeze()
        tensor([1., 3.])
    """
    pairs = (len(temperatures) - first) // 2
    lower = slice(first, first + 2 * pairs, 2)
    upper = slice(first + 1, first + 2 * pairs, 2)
    probability = exchange_probability(
        state.log_likelihood[lower],
        state.log_likelihood[upper],
        (temperatures[upper] - temperatures[lower])[:, None, None],
    )
    accepted = torch.rand_like(probability) < probability
    return _swap(state, lower, upper, accepted), probability


def exchange_probability(lower: Tensor, upper: Tensor, gap: Tensor) -> Tensor:
    """min(1, r) for the log likelihoods at the lower and upper temperature and their gap.

    Example:
        >>> exchange_probability(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(1.0))
        tensor(0.3679)
    """
    return (gap * (lower - upper)).nan_to_num(nan=-math.inf).clamp(max=0).exp()


def _swap(state: LadderState, lower: slice, upper: slice, accepted: Tensor) -> LadderState:
    swapped = []
    for tensor in state.tensors:
        mask = accepted if tensor.ndim == 3 else accepted[..., None]
        result = tensor.clone()
        result[lower] = torch.where(mask, tensor[upper], tensor[lower])
        result[upper] = torch.where(mask, tensor[lower], tensor[upper])
        swapped.append(result)
    return LadderState(*swapped)
