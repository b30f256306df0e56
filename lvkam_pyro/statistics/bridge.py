"""The ratio of two normalisers from draws of both densities, by the bridge of least variance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from lvkam_pyro.statistics.jackknife import log_mean_exp

_MAX_STEPS = 100
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class BridgeRatio:
    r"""The log ratio of the normalisers of two densities, with its delete-one values.

    .. math:: \frac{c_1}{c_2} = r: \quad
        s_1 \, \overline{\frac{s_2 r}{s_1 l_i + s_2 r}} =
        s_2 \, \overline{\frac{s_1 l_j}{s_1 l_j + s_2 r}}, \qquad l = \frac{q_1(u)}{q_2(u)}

    with the means over draws i of the first density and j of the second: the fixed point of the
    bridge function of least variance (Meng and Wong 1996, Statistica Sinica 6, 831-860, equation
    4.1; Bennett 1976, https://doi.org/10.1016/0021-9991(76)90078-4). Every term is bounded, so that
    neither density has to have the heavier tails. The odds :math:`s_1 / s_2` are those of the
    numbers of independent draws.

    Attributes:
        log_ratio: :math:`\log r`, `(U,)`; -infinity where every :math:`l_j` is zero.
        leave_one_out: The same without each block of draws, `(R, U)`, to first order.
        overlap: :math:`\int 2 p_1 p_2 / (p_1 + p_2)`, between 0 and 1, `(U,)`.

    Example:
        >>> first, second = torch.zeros(40, 1), torch.zeros(60, 1)  # Twice the same density,
        >>> ratio = BridgeRatio.of([first + 3.0], [second + 3.0], torch.zeros(1), num_blocks=10)
        >>> ratio.log_ratio, ratio.overlap  # the one exp(3) times the other.
        (tensor([3.]), tensor([1.]))
    """

    log_ratio: Tensor
    leave_one_out: Tensor
    overlap: Tensor

    @classmethod
    def of(
        cls,
        first: Sequence[Tensor],
        second: Sequence[Tensor],
        log_odds: Tensor,
        *,
        num_blocks: int,
    ) -> Self:
        """The ratio from log l at draws of both densities.

        Args:
            first: Log l at draws of the first density, `(D, U)` for each sample; samples may have
                second densities of their own.
            second: The same at draws of the second density, `(S, U)` for each sample.
            log_odds: Log of the number of independent draws of the first over that of the second
                density, `(U,)`.
            num_blocks: R, of neighbouring draws, into which each sample is cut.
        """
        joined = torch.cat(list(first)), torch.cat(list(second))
        possible = joined[1].amax(0) > -torch.inf
        draws, others = (torch.where(possible, values, 0.0) for values in joined)
        log_ratio = _solve(draws, others, log_odds)
        terms = _log_terms(draws, others, log_odds, log_ratio)
        change = [
            _log_without_blocks(term, _blocks(samples, num_blocks))
            for term, samples in zip(terms, (first, second), strict=True)
        ]
        leave_one_out = log_ratio + (change[1] - change[0]) / _slope(*terms)
        return cls(
            torch.where(possible, log_ratio, -torch.inf),
            torch.where(possible, leave_one_out, -torch.inf),
            torch.where(possible, 2 * (others - log_ratio).sigmoid().mean(0), 0.0),
        )


def _log_terms(
    draws: Tensor, others: Tensor, log_odds: Tensor, log_ratio: Tensor
) -> tuple[Tensor, Tensor]:
    """The logs of the terms of both means."""
    return (
        logsigmoid(log_ratio - draws - log_odds),
        logsigmoid(others + log_odds - log_ratio),
    )


def _slope(log_first: Tensor, log_second: Tensor) -> Tensor:
    """How fast the log of the means' ratio falls where log r rises, between 0 and 2, `(U,)`."""
    first, second = ((term.softmax(0) * -term.expm1()).sum(0) for term in (log_first, log_second))
    return first + second


def _solve(draws: Tensor, others: Tensor, log_odds: Tensor) -> Tensor:
    """Log r by Newton's steps, halved where they leave the bracket: the equation is monotone."""
    finite = torch.cat([draws, others])
    low = torch.where(finite.isfinite(), finite, torch.inf).amin(0) - len(finite)
    high = torch.where(finite.isfinite(), finite, -torch.inf).amax(0)
    log_ratio = log_mean_exp(others)
    for _ in range(_MAX_STEPS):
        terms = _log_terms(draws, others, log_odds, log_ratio)
        excess = log_mean_exp(terms[1]) - log_mean_exp(terms[0]) - log_odds
        low, high = (
            torch.where(excess >= 0, log_ratio, low),
            torch.where(excess <= 0, log_ratio, high),
        )
        step = log_ratio + excess / _slope(*terms)
        step = torch.where((step >= low) & (step <= high), step, (low + high) / 2)
        change, log_ratio = (step - log_ratio).abs(), step
        if bool((change <= _TOLERANCE * (1 + log_ratio.abs())).all()):
            break
    return log_ratio


def _blocks(samples: Sequence[Tensor], num_blocks: int) -> Tensor:
    """The block that each draw of all samples is in."""
    places = [torch.arange(len(sample), device=sample.device) for sample in samples]
    return torch.cat([place * num_blocks // len(place) for place in places])


def _log_without_blocks(log_terms: Tensor, block: Tensor) -> Tensor:
    """The change of the log of a mean without each block, `(R, U)`."""
    shares = log_terms.softmax(0)
    counts = torch.bincount(block)
    held = shares.new_zeros(len(counts), *shares.shape[1:]).index_add(0, block, shares)
    return (-held).log1p() - (-(counts / len(block)).to(shares)).log1p()[:, None]
