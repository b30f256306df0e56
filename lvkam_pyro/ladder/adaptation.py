"""Step sizes and covariances per temperature and datum, which the chains learn in warm-up."""

from dataclasses import dataclass
from typing import Generic, Self

import torch
from torch import Tensor

from lvkam_pyro.ladder.state import LadderState, StateT

MAX_FULL_COORDINATES = 32
"""Above this many coordinates of each datum only variances are learned, not covariances."""

MAX_FULL_VALUES = 100**2
"""Of the covariances of all units, which are learned above that limit too: 100 coordinates of one
data set."""

PARTICLES_PER_CHAIN = 4
"""Particles of which each chain's start is chosen."""

_WINDOW_ENDS = (0.1, 0.25, 0.5, 0.8)
_DRAWS_PER_INDEPENDENT_DRAW = 5
_TINY = 1e-300
_SHRUNK = 0.1


@dataclass(frozen=True)
class Metric:
    r"""The linear map L with :math:`L L' \approx Cov_t[u]` per temperature and datum.

    Attributes:
        factor: `(T, N, D, D)` lower triangular, or `(T, N, D)` diagonal.

    Example:
        >>> Metric(torch.eye(2).expand(1, 1, 2, 2)).apply(torch.ones(1, 3, 1, 2)).shape
        torch.Size([1, 3, 1, 2])
    """

    factor: Tensor

    @classmethod
    def of(cls, covariance: Tensor, dtype: torch.dtype) -> Self:
        """The root of covariances `(T, N, D, D)`, or of variances `(T, N, D)`."""
        if covariance.ndim == 3:
            return cls(covariance.clamp(min=1e-30).sqrt().to(dtype))
        variance = covariance.diagonal(dim1=-2, dim2=-1).clamp(min=1e-30)
        # Directions that differ by more than this cannot be told apart in single precision.
        factor, info = torch.linalg.cholesky_ex(covariance + 1e-7 * torch.diag_embed(variance))
        fallback = torch.diag_embed(variance.sqrt())
        return cls(torch.where((info == 0)[..., None, None], factor, fallback).to(dtype))

    def apply(self, vector: Tensor) -> Tensor:
        """L v for vectors `(T, C, N, D)`."""
        if self.factor.ndim == 3:
            return self.factor[:, None] * vector
        return torch.einsum("tnij,tcnj->tcni", self.factor, vector)

    def pull_back(self, gradient: Tensor) -> Tensor:
        """L' g for gradients `(T, C, N, D)`."""
        if self.factor.ndim == 3:
            return self.factor[:, None] * gradient
        return torch.einsum("tnji,tcnj->tcni", self.factor, gradient)


@dataclass(frozen=True)
class Tuning:
    """The metric and the step sizes with which a kernel moves.

    Attributes:
        metric: The preconditioner.
        step: The step sizes, `(T, N)`.

    Example:
        >>> Tuning(Metric(torch.ones(2, 3, 40)), torch.ones(2, 3)).step.sum()
        tensor(6.)
    """

    metric: Metric
    step: Tensor


@dataclass(frozen=True)
class Start(Generic[StateT]):
    """The beginning of chains, and a first guess of their covariances and steps.

    Attributes:
        state: The chains at every temperature.
        covariance: `(T, N, D, D)` or `(T, N, D)`; D = 0 for a kernel without a metric.
        log_step: `(T, N)`; infinite for a kernel without steps.
    """

    state: StateT
    covariance: Tensor
    log_step: Tensor


def second_moment(deviation: Tensor) -> Tensor:
    """The sum over chains of d d', or of d squared in many dimensions.

    Args:
        deviation: `(T, C, N, D)`.

    Returns:
        `(T, N, D, D)` up to 32 coordinates, or 100 of a single unit, `(T, N, D)` above, in float64.

    Example:
        >>> second_moment(torch.ones(1, 3, 1, 2)).squeeze()
        tensor([[3., 3.],
                [3., 3.]], dtype=torch.float64)
    """
    num_units, num_coordinates = deviation.shape[2:]
    is_small = num_units * num_coordinates**2 <= MAX_FULL_VALUES
    if num_coordinates > MAX_FULL_COORDINATES and not is_small:
        return deviation.square().sum(1).double().nan_to_num()
    return torch.einsum("tcni,tcnj->tnij", deviation, deviation).double().nan_to_num()


def covariance_of(position: Tensor) -> Tensor:
    """The covariance over the chains of positions `(T, C, N, D)`, or their variances.

    Example:
        >>> covariance_of(torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1)).squeeze()
        tensor(1., dtype=torch.float64)
    """
    deviation = position - position.mean(1, keepdim=True)
    return second_moment(deviation) / position.shape[1]


def blend(new: Tensor, weight: Tensor | float, old: Tensor) -> Tensor:
    """A covariance learned from `weight` independent draws, with D draws' worth of the old one.

    It shrinks towards the neighbour that came before, not towards a diagonal: strong correlations
    survive, and the result is invariant under linear maps of the coordinates.

    Example:
        >>> blend(torch.zeros(1, 1, 2, 2), 6.0, torch.ones(1, 1, 2, 2))[0, 0, 0, 0]
        tensor(0.2500)
    """
    num_coordinates = old.shape[-1]
    return (weight * new + num_coordinates * old) / (weight + num_coordinates)


def at_scale_of(new: Tensor, old: Tensor) -> Tensor:
    """The old covariance, at the new one's scale in coordinates that have shrunk tenfold.

    Only its correlations say anything there.

    Example:
        >>> at_scale_of(4e-6 * torch.eye(2)[None, None], torch.ones(1, 1, 2, 2))[0, 0, 0]
        tensor([4.0000e-06, 4.0000e-06])
    """
    if new.ndim == 3:
        return torch.where(new < _SHRUNK**2 * old, new, old)
    variances = (matrix.diagonal(dim1=-2, dim2=-1).clamp(min=_TINY) for matrix in (new, old))
    now, then = (variance.sqrt() for variance in variances)
    ratio = torch.where(now < _SHRUNK * then, now / then, 1.0)
    return old * ratio[..., :, None] * ratio[..., None, :]


class Adaptation:
    """Step sizes by Robbins and Monro towards an acceptance, covariances by windows.

    At the end of each window the covariance is learned from all chains' draws in it and the step
    sizes start to settle again; the last window adapts only the steps.

    Args:
        start: The covariances and log step sizes to start from.
        num_warmup: The number of warm-up steps.
        target_acceptance: The mean acceptance to reach.

    Attributes:
        covariance: The last one learned.
        log_step: The log step sizes in use, `(T, N)`.

    Example:
        >>> state = LadderState(torch.zeros(2, 4, 3, 40), torch.zeros(2, 4, 3))
        >>> start = Start(state, torch.ones(2, 3, 40), torch.zeros(2, 3))
        >>> Adaptation(start, 100, target_acceptance=0.574).tuning.step.shape
        torch.Size([2, 3])
    """

    def __init__(self, start: Start[StateT], num_warmup: int, *, target_acceptance: float) -> None:
        self.covariance = start.covariance
        self.log_step = start.log_step
        self._dtype = start.state.position.dtype
        self._metric = Metric.of(start.covariance, self._dtype)
        self._window_ends = {int(fraction * num_warmup) for fraction in _WINDOW_ENDS}
        self._target_acceptance = target_acceptance
        self._reference: Tensor | None = None
        self._since = 0

    @property
    def tuning(self) -> Tuning:
        """The metric and the step sizes in use."""
        return Tuning(self._metric, self.log_step.exp())

    def update(self, iteration: int, state: LadderState, probability: Tensor) -> None:
        """Learn from one warm-up step.

        Args:
            iteration: Its index.
            state: Where it led.
            probability: The acceptance probabilities, `(T, C, N)`.
        """
        self._since += 1
        self.follow(probability, self._since**-0.6)
        if self.covariance.shape[-1] > 0:
            self._collect(state.position)
            if iteration in self._window_ends:
                self._learn_covariance(state.position.shape[1])

    def follow(self, probability: Tensor, gain: float) -> None:
        """Move the log step sizes towards the acceptance wanted, from that of one step."""
        error = probability.mean(1) - self._target_acceptance
        error[0] = 0.0  # The prior is drawn exactly, without a step.
        self.log_step = self.log_step + gain * error

    def _collect(self, position: Tensor) -> None:
        if self._reference is None:
            self._reference = position.mean(1, keepdim=True)
            self._sum = torch.zeros_like(self._reference[:, 0], dtype=torch.float64)
            self._moment = torch.zeros_like(self.covariance)
        deviation = position - self._reference
        self._sum += deviation.sum(1)
        self._moment += second_moment(deviation)

    def _learn_covariance(self, num_chains: int) -> None:
        num_draws = self._since * num_chains
        centred = self._moment / num_draws - second_moment((self._sum / num_draws)[:, None])
        weight = num_draws / _DRAWS_PER_INDEPENDENT_DRAW
        self.covariance = blend(centred, weight, self.covariance)
        self._metric = Metric.of(self.covariance, self._dtype)
        self._reference = None
        self._since = 0
