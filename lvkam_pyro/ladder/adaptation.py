"""What the chains learn in warm-up: step sizes and covariances per temperature and datum."""

import torch
from torch import Tensor

from lvkam_pyro.ladder.chains import LadderState, Metric

MAX_FULL_COORDINATES = 32
"""Above this many coordinates only variances are learned, not covariances."""

_WINDOW_ENDS = (0.1, 0.25, 0.5, 0.8)
_DRAWS_PER_INDEPENDENT_DRAW = 5


def second_moment(deviation: Tensor) -> Tensor:
    """The sum over chains of d d', or of d squared in many dimensions.

    Args:
        deviation: `(T, C, N, D)`.

    Returns:
        `(T, N, D, D)` up to 32 coordinates, `(T, N, D)` above, in float64.

    Example:
        >>> second_moment(torch.ones(1, 3, 1, 2)).squeeze()
        tensor([[3., 3.],
                [3., 3.]], dtype=torch.float64)
    """
    if deviation.shape[-1] > MAX_FULL_COORDINATES:
        return deviation.square().sum(1).double()
    return torch.einsum("tcni,tcnj->tnij", deviation, deviation).double()


def outer(vector: Tensor) -> Tensor:
    """V v', or v squared in many dimensions, for vectors `(T, N, D)`.

    Example:
        >>> outer(torch.ones(1, 1, 2)).shape
        torch.Size([1, 1, 2, 2])
    """
    return second_moment(vector[:, None])


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


class Adaptation:
    """Step sizes by Robbins and Monro towards an acceptance, covariances by windows.

    At the end of each window the covariance is learned from all chains' draws in it and the step
    sizes start to settle again; the last window adapts only the steps.

    Args:
        covariance: `(T, N, D, D)` or `(T, N, D)`, to start from.
        log_step: `(T, N)`, to start from.
        num_warmup: The number of warm-up steps.
        target_acceptance: The mean acceptance to reach.
        dtype: The positions' precision.

    Attributes:
        metric: The preconditioner in use.
        log_step: The log step sizes in use, `(T, N)`.

    Example:
        >>> start = torch.ones(2, 3, 40), torch.zeros(2, 3)
        >>> options = {"target_acceptance": 0.574, "dtype": torch.float32}
        >>> adaptation = Adaptation(*start, 100, **options)
        >>> adaptation.step.shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        covariance: Tensor,
        log_step: Tensor,
        num_warmup: int,
        *,
        target_acceptance: float,
        dtype: torch.dtype,
    ) -> None:
        self.covariance = covariance
        self.log_step = log_step
        self.metric = Metric.of(covariance, dtype)
        self._window_ends = {int(fraction * num_warmup) for fraction in _WINDOW_ENDS}
        self._target_acceptance = target_acceptance
        self._dtype = dtype
        self._reference: Tensor | None = None
        self._since = 0

    @property
    def step(self) -> Tensor:
        """The step sizes, `(T, N)`."""
        return self.log_step.exp()

    def update(self, iteration: int, state: LadderState, probability: Tensor) -> None:
        """Learn from one warm-up step.

        Args:
            iteration: Its number.
            state: Where it led.
            probability: The acceptance probabilities, `(T, C, N)`.
        """
        self._since += 1
        error = probability.mean(1) - self._target_acceptance
        error[0] = 0.0  # The prior is drawn exactly, without a step.
        self.log_step = self.log_step + self._since**-0.6 * error
        self._collect(state.position)
        if iteration in self._window_ends:
            self._learn_covariance(state.position.shape[1])

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
        centred = self._moment / num_draws - outer(self._sum / num_draws)
        weight = num_draws / _DRAWS_PER_INDEPENDENT_DRAW
        self.covariance = blend(centred, weight, self.covariance)
        self.metric = Metric.of(self.covariance, self._dtype)
        self._reference = None
        self._since = 0
