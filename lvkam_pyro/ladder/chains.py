"""The chains of one block of data: they start, warm up, move, exchange states, and are kept."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic

import torch
from torch import Tensor

from lvkam_pyro.ladder.adaptation import Adaptation, Start
from lvkam_pyro.ladder.kernel import Kernel, TargetT
from lvkam_pyro.ladder.state import StateT, exchange, neighbours

MIN_DRAWS = 4
"""The least number of kept draws of which convergence can be judged."""


class Chains(Generic[StateT, TargetT]):
    """The chains of all temperatures, for each datum.

    After every move, neighbours exchange their states, even and odd pairs in turn, within each
    chain: the ladders of different chains never meet, so each is a replicate.

    Args:
        kernel: How they move.
        target: The program, as the kernel binds it.
        temperatures: `(T,)` in float64, from 0 to 1, on the data's device.
        start: Where they begin.
        num_warmup: Steps of `warm_up`.

    Attributes:
        state: Where they stand.
        adaptation: The metric and the step sizes in use.
        restarts: The states that have come from the first temperature to the last, `(C, N)`.

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x, kernel, temperatures = torch.zeros(3), lv.ladder.MALA(), torch.linspace(0, 1, 4)
        >>> target = kernel.bind(lv.bind(model, x))
        >>> start = kernel.start(target, temperatures.double(), 8)
        >>> chains = Chains(kernel, target, temperatures.double(), start, 5)
        >>> chains.warm_up()
        >>> chains.keep(6, thinning=2).log_likelihood.shape
        torch.Size([6, 8, 4, 3])
    """

    def __init__(
        self,
        kernel: Kernel[StateT, TargetT],
        target: TargetT,
        temperatures: Tensor,
        start: Start[StateT],
        num_warmup: int = 0,
    ) -> None:
        self.kernel = kernel
        self.target = target
        self.temperatures = temperatures
        self.state = start.state
        self.adaptation = Adaptation(start, num_warmup, target_acceptance=kernel.target_acceptance)
        self._num_warmup = num_warmup
        self._num_steps = 0
        self._is_fresh = torch.zeros_like(start.state.log_likelihood, dtype=torch.bool)
        self.restarts = torch.zeros_like(self._is_fresh[0], dtype=torch.long)

    def step(self) -> tuple[Tensor, Tensor]:
        """Move every chain, then offer exchanges.

        Returns:
            The moves' acceptance probabilities `(T, C, N)`, and those of the exchanges of all
            neighbours, `(T - 1, C, N)`: NaN where none was offered.
        """
        stacked = self.temperatures[:, None, None]
        state, probability = self.kernel.move(
            self.state, stacked, self.adaptation.tuning, self.target
        )
        first = self._num_steps % 2
        self.state, accepted, offered = exchange(state, self.temperatures, first=first)
        self._follow(accepted, first)
        swaps = torch.full_like(probability[1:], torch.nan)
        swaps[first::2] = offered
        self._num_steps += 1
        return probability, swaps

    def _follow(self, accepted: Tensor, first: int) -> None:
        """Note which states were exact draws of the first temperature since they were at the last.

        Only they bring anything new: what moves and exchanges do above is to mix what is there.
        """
        lower, upper = neighbours(len(self.temperatures), first)
        fresh = self._is_fresh
        fresh[0] = True
        fresh[lower], fresh[upper] = (
            torch.where(accepted, fresh[upper], fresh[lower]),
            torch.where(accepted, fresh[lower], fresh[upper]),
        )
        self.restarts += fresh[-1]
        fresh[-1] = False

    def warm_up(self, tick: Callable[[], object] = lambda: None) -> None:
        """Forget the start and adapt.

        Args:
            tick: Called after every step.
        """
        for iteration in range(self._num_warmup):
            probability, _ = self.step()
            self.adaptation.update(iteration, self.state, probability)
            tick()

    def keep(
        self,
        num_samples: int,
        *,
        thinning: int = 1,
        keep_path: bool = False,
        tick: Callable[[], object] = lambda: None,
    ) -> "Record":
        """Move on, and keep draws.

        Args:
            num_samples: D, the draws of each chain.
            thinning: Steps for each.
            keep_path: Whether the draws of all temperatures are kept, not only those at 1.
            tick: Called after every step.

        Returns:
            The record; of the draws made so far when the user interrupts and at least 4 are kept.

        Raises:
            KeyboardInterrupt: If interrupted earlier.
        """
        record = Record()
        kept = slice(None) if keep_path else slice(-1, None)
        try:
            for iteration in range(1, num_samples * thinning + 1):
                record.count(*self.step())
                if iteration % thinning == 0:
                    draw = self.state.log_likelihood.transpose(0, 1), self.state.position[kept]
                    record.draws.append(draw)
                tick()
        except KeyboardInterrupt:
            if len(record.draws) < MIN_DRAWS:
                raise
        return record

    def latents(self, record: "Record") -> dict[str, Tensor]:
        """The kept latents, `(D, C, T, N, *inner plates, *event)`; T = 1 if the path is not."""
        position = torch.stack([position for _, position in record.draws])
        # As many draws at once as a step moves.
        size = self.state.position.shape[:2].numel()
        parts = [self.target.constrain(part) for part in position.flatten(0, 2).split(size)]
        return {
            name: torch.cat([part[name] for part in parts])
            .unflatten(0, position.shape[:3])
            .transpose(1, 2)
            for name in parts[0]
        }


@dataclass
class Record:
    """The draws that are kept of chains, and how all their steps went.

    Attributes:
        draws: Log likelihoods `(C, T, N)` and positions `(T or 1, C, N, D)` of each kept step.
    """

    draws: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    _acceptance: list[Tensor] = field(default_factory=list)
    _swaps: list[Tensor] = field(default_factory=list)

    def count(self, probability: Tensor, swaps: Tensor) -> None:
        """Count one step's acceptance and exchanges."""
        self._acceptance.append(probability.mean(1))
        self._swaps.append(swaps.mean(1))

    @property
    def log_likelihood(self) -> Tensor:
        """The log likelihoods, `(D, C, T, N)`."""
        return torch.stack([log_likelihood for log_likelihood, _ in self.draws])

    @property
    def acceptance(self) -> Tensor:
        """The chains' mean acceptance, `(T, N)`."""
        return torch.stack(self._acceptance).mean(0)

    @property
    def swap_rate(self) -> Tensor:
        """The mean probability of the exchanges offered between neighbours, `(T - 1, N)`."""
        return torch.stack(self._swaps).nanmean(0)
