"""A test of uniformity: the distribution function of values, a band around it, and a p-value."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom, poisson
from torch import Tensor

Values = NDArray[np.float64]
Counts = NDArray[np.int64]

_NUM_POINTS = 100
_BISECTIONS = 40


@dataclass(frozen=True, eq=False)
class Uniformity:
    r"""Distribution functions of samples that should be uniform on (0, 1).

    With :math:`R_i` of N independent values at most :math:`t_i`, every :math:`R_i` is binomial. The
    statistic is the smallest two-sided binomial p-value over the points,

    .. math:: \gamma = \min_i 2 \min\{P(B_i \le R_i), P(B_i \ge R_i)\}, \quad
              B_i \sim \mathrm{Binomial}(N, t_i)

    and its distribution is computed exactly, by a recursion over the points, not simulated.

    References:
        Säilynoja, T., Bürkner, P.-C. and Vehtari, A. (2022). Graphical test for discrete uniformity
        and its applications in goodness-of-fit evaluation and multiple sample comparison, sections
        2.1 and 2.2. https://arxiv.org/abs/2103.10522. The recursion runs on a Poisson process:
        Moscovich, A. and Nadler, B. (2017). https://arxiv.org/abs/1503.04363

    Attributes:
        points: :math:`t_i`, ascending, `(K,)`.
        ecdf: Share of the values at most :math:`t_i`, `(*, K)`: a row a sample.
        lower: The band that holds a uniform sample's whole function with a chance of `level`.
        upper: Its upper end; `(K,)` both.
        p_value: Of each sample, `(*)`.
        level: Of the band.
        num_values: N.

    Example:
        >>> check_uniformity(torch.linspace(0.0005, 0.9995, 1000)).p_value
        tensor(1., dtype=torch.float64)
    """

    points: Tensor
    ecdf: Tensor
    lower: Tensor
    upper: Tensor
    p_value: Tensor
    level: float
    num_values: int


def check_uniformity(
    values: Tensor, *, points: Tensor | None = None, level: float = 0.95
) -> Uniformity:
    """Test samples for uniformity on (0, 1).

    The values of one sample must be independent of each other; samples need not be.

    Args:
        values: `(N, *)`, a sample along the first axis.
        points: Where to look, ascending, between 0 and 1; None: up to 99 evenly spaced. For values
            k/K of integers k choose among the 1/K ... (K - 1)/K: the test is exact for them.
        level: Of the band, between 0 and 1.

    Raises:
        ValueError: If there are no values, or some lie outside [0, 1].

    Example:
        >>> result = check_uniformity(torch.rand(500, 3).square())
        >>> bool((result.p_value < 1e-6).all())
        True
    """
    if values.ndim == 0 or len(values) == 0 or not bool(((values >= 0) & (values <= 1)).all()):
        raise ValueError(
            f"Expected values between 0 and 1 of shape (N, *), got shape {tuple(values.shape)} "
            f"with {int(((values < 0) | (values > 1) | values.isnan()).sum())} outside. Pass ranks "
            "divided by their largest, or probability integral transforms."
        )
    if not 0 < level < 1:
        raise ValueError(f"Expected a level between 0 and 1, got {level}. Use e.g. 0.95.")
    samples = values.detach().to("cpu", torch.float64)
    points = _even_points(len(samples)) if points is None else points.to("cpu", torch.float64)
    counts = _count(samples, points)
    process = _process(len(samples), tuple(points.tolist()))
    gammas = process.statistic(counts.numpy())
    p_values = np.vectorize(process.p_value, otypes=[float])(gammas)
    lower, upper = process.acceptance(process.gamma_of(level))
    return Uniformity(
        points=points,
        ecdf=counts / len(samples),
        lower=torch.from_numpy(lower / len(samples)),
        upper=torch.from_numpy(upper / len(samples)),
        p_value=torch.from_numpy(np.asarray(p_values)),
        level=level,
        num_values=len(samples),
    )


def _even_points(num_values: int) -> Tensor:
    count = max(2, min(num_values, _NUM_POINTS))
    return torch.arange(1, count, dtype=torch.float64) / count


def _count(samples: Tensor, points: Tensor) -> Tensor:
    """The number of values of each sample that are at most each point, `(*, K)`."""
    ordered = samples.movedim(0, -1).sort(-1).values.contiguous()
    points = points.expand(*ordered.shape[:-1], -1).contiguous()
    return torch.searchsorted(ordered, points, right=True).double()


@lru_cache(maxsize=8)
def _process(num_values: int, points: tuple[float, ...]) -> "_BinomialProcess":
    return _BinomialProcess(num_values, np.array(points))


class _BinomialProcess:
    """The counts of N uniform values below ascending points."""

    def __init__(self, num_values: int, points: Values) -> None:
        self.num_values = num_values
        self.points = points
        counts = np.arange(num_values + 1)
        below = binom.cdf(counts, num_values, points[:, None])
        above = binom.sf(counts - 1, num_values, points[:, None])
        self.local = np.minimum(1.0, 2 * np.minimum(below, above))
        """Two-sided p-value of every count at every point, `(K, N + 1)`."""
        rates = num_values * np.diff(points, prepend=0.0, append=1.0)
        self.steps = np.asarray(poisson.pmf(counts, rates[:, None]))
        """Distribution of a Poisson process' events between two points, `(K + 1, N + 1)`."""

    def statistic(self, counts: Values) -> Values:
        """The smallest local p-value of counts `(*, K)`."""
        rows = np.arange(len(self.points))
        return np.asarray(self.local[rows, counts.astype(int)].min(-1))

    def acceptance(self, gamma: float) -> tuple[Counts, Counts]:
        """The least and largest count at each point whose local p-value is above gamma."""
        inside = self.local > gamma
        lower = inside.argmax(1)
        upper = self.num_values - inside[:, ::-1].argmax(1)
        return lower, upper

    def p_value(self, gamma: float) -> float:
        """The chance of a statistic of gamma or less."""
        outside = 1 - self.coverage(gamma)
        # What rounding leaves of a tiny chance is held between one tail's at one point and that of
        # all points together.
        return float(np.clip(outside, gamma / 2, min(1.0, gamma * len(self.points))))

    def gamma_of(self, level: float) -> float:
        """The statistic that uniform values exceed with a chance of at least `level`."""
        low, high = (1 - level) / len(self.points), 1.0
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            enough = self.coverage(middle) >= level
            low, high = (middle, high) if enough else (low, middle)
        return low

    def coverage(self, gamma: float) -> float:
        """The chance of a statistic above gamma: of a Poisson process, given its N events."""
        if gamma >= self.local.max(1).min():
            return 0.0
        lower, upper = ([int(count) for count in end] for end in self.acceptance(gamma))
        last = self.num_values
        ends = [(0, 0), *zip(lower, upper, strict=True), (last, last)]
        mass = np.ones(1)
        for steps, (start, _), (low, high) in zip(self.steps, ends[:-1], ends[1:], strict=True):
            mass = np.convolve(mass, steps[: high - start + 1])[low - start : high - start + 1]
        return float(mass[0] / poisson.pmf(self.num_values, self.num_values))
