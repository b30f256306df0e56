"""When the densities of a program come from a record of its operations, and when from a run."""

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from lvkam_pyro.tracing.replaying.replay import Replay
from lvkam_pyro.tracing.replaying.tape import Tape, UntraceableError

_MIN_RUNS = 1
"""Runs of a shape before a record of it, which most shapes are not worth."""

_NUM_CHECKS = 2
"""The first replays of a record, which runs at the same latents are compared with."""

LogDensities = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Log prior and log likelihood, `(S, U)` each, at positions `(S, U, D)`, with gradients."""


@dataclass(frozen=True)
class Evaluation:
    """The densities of a stack of latent vectors, and their gradients.

    Attributes:
        log_prior: `(S, U)`, the prior's density of the vector: log p(z) + log |dz/du|.
        log_likelihood: `(S, U)`.
        prior_gradient: `(S, U, D)`.
        likelihood_gradient: `(S, U, D)`.
    """

    log_prior: Tensor
    log_likelihood: Tensor
    prior_gradient: Tensor
    likelihood_gradient: Tensor

    @classmethod
    def by(cls, log_densities: LogDensities, position: Tensor) -> "Evaluation":
        """Run the densities and differentiate them; a gradient that does not exist is zero."""
        with torch.enable_grad():
            position = position.detach().requires_grad_()
            log_prior, log_likelihood = log_densities(position)
            prior_gradient = _gradient(log_prior, position, retain_graph=True)
            likelihood_gradient = _gradient(log_likelihood, position)
        return cls(
            log_prior.detach().double(),
            log_likelihood.detach().double(),
            prior_gradient,
            likelihood_gradient,
        )

    def is_like(self, other: "Evaluation") -> bool:
        """Whether another one differs by rounding alone."""
        tolerance = torch.finfo(self.prior_gradient.dtype).eps ** 0.5
        pairs = zip(astuple(self), astuple(other), strict=True)
        return all(_are_close(*pair, tolerance) for pair in pairs)


class _DifferentReadingError(Exception):
    """A program that branches on values takes another branch than on the record."""


class Replays:
    """The evaluations of a function of positions, from records of its operations where they pay.

    The first runs of each shape are runs of the function. Then one is recorded, and the first
    replays are compared with runs at the same positions: a record that is not right at once, or
    that cannot be made, is never used again.

    Args:
        log_densities: The function.
        pays: Whether a record is worth its costs at positions of this size.

    Example:
        >>> def log_densities(u):
        ...     return -u.square().sum(-1) / 2, u.sin().sum(-1)
        >>> replays, u = Replays(log_densities, pays=lambda _: True), torch.randn(5, 1, 3)
        >>> [replays.evaluate(u).log_prior.shape for _ in range(6)][-1]
        torch.Size([5, 1])
        >>> replays.num_replayed
        3
    """

    def __init__(self, log_densities: LogDensities, *, pays: Callable[[Tensor], bool]) -> None:
        self._log_densities = log_densities
        self._pays = pays
        self._runs: Counter[tuple[torch.Size, torch.dtype]] = Counter()
        self._replays: dict[tuple[torch.Size, torch.dtype], Replay | None] = {}
        self.num_replayed = 0

    def evaluate(self, position: Tensor) -> Evaluation:
        """The evaluation at positions `(S, U, D)`."""
        key = position.shape, position.dtype
        replay = self._replay_for(position)
        if replay is not None and self._runs[key] >= _MIN_RUNS + _NUM_CHECKS:
            found = _by_replay(replay, position)
            if found is not None:
                self.num_replayed += 1
                return found
        fresh = Evaluation.by(self._log_densities, position)
        if replay is not None and self._runs[key] < _MIN_RUNS + _NUM_CHECKS:
            self._check(replay, position, fresh)
        self._runs[key] += 1
        return fresh

    def _check(self, replay: Replay, position: Tensor, fresh: Evaluation) -> None:
        """Discard a record that does not give what a run gives."""
        try:
            with warnings.catch_warnings():
                # torch warns of operations that it cannot run together.
                warnings.simplefilter("error")
                found = _by_replay(replay, position)
        except (RuntimeError, Warning):
            found = None
        if found is None or not found.is_like(fresh):
            self._replays[position.shape, position.dtype] = None

    def _replay_for(self, position: Tensor) -> Replay | None:
        key = position.shape, position.dtype
        if key not in self._replays:
            if self._runs[key] < _MIN_RUNS or not self._pays(position):
                return None
            self._replays[key] = _record(self._log_densities, position.detach())
        return self._replays[key]


def _by_replay(replay: Replay, position: Tensor) -> Evaluation | None:
    """The evaluation by a record; None where the function would take another way."""
    try:
        return Evaluation.by(lambda position: _replayed(replay, position), position)
    except _DifferentReadingError:
        return None


def _record(log_densities: LogDensities, position: Tensor) -> Replay | None:
    """A record of the function at positions; None if it cannot be made."""
    try:
        with torch.no_grad(), Tape(position) as tape:
            results = log_densities(position)
        return Replay(tape, results)
    except UntraceableError:
        return None


def _replayed(replay: Replay, position: Tensor) -> tuple[Tensor, Tensor]:
    results = replay(position)
    if results is None:
        raise _DifferentReadingError
    log_prior, log_likelihood = results
    return log_prior, log_likelihood


def _gradient(log_prob: Tensor, position: Tensor, *, retain_graph: bool = False) -> Tensor:
    if not log_prob.requires_grad:
        return torch.zeros_like(position)
    (gradient,) = torch.autograd.grad(
        log_prob.sum(), position, retain_graph=retain_graph, materialize_grads=True
    )
    return gradient.nan_to_num(0.0, 0.0, 0.0)


def _are_close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether tensors are equal, to a share of their own and of their typical size."""
    size = expected.abs().nan_to_num(0.0, 0.0, 0.0)
    typical = float(size.median())
    return torch.allclose(
        found, expected, rtol=tolerance, atol=tolerance * (1 + typical), equal_nan=True
    )
