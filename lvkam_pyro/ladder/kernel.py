"""What moves the chains of a ladder of power posteriors."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from lvkam_pyro.tracing.structure import Model, ModelStructure


@dataclass(frozen=True)
class LadderPlan:
    """What a ladder is asked for.

    Attributes:
        temperatures: `(T,)` in float64, from 0 to 1, on the data's device.
        num_chains: C, chains at each temperature.
        num_warmup: Steps that adapt, or forget the start, and are dropped.
        num_samples: D, kept draws of each chain.
        thinning: Steps for each kept draw.
        keep_path: Whether the draws of all temperatures are kept, not only those at 1.
    """

    temperatures: Tensor
    num_chains: int
    num_warmup: int
    num_samples: int
    thinning: int
    keep_path: bool = False


@dataclass(frozen=True)
class LadderDraws:
    """What one run of a ladder kept.

    Attributes:
        log_likelihood: `(D, C, T, N)` in float64.
        latents: Site name to the draws at temperature 1, `(D, C, N, *inner plates, *event)`.
        acceptance: The chains' mean acceptance, `(T, N)`; 1 where draws are exact.
        swap_rate: The mean probability of exchange between neighbours, `(T - 1, N)`.
        step_size: `(T, N)`; infinite where a kernel has none.
        num_likelihood_evaluations: Per datum, start and warm-up included.
        data_scale: The data plate's full size divided by its size.
        path: Site name to the draws at all temperatures, `(D, C, T, N, *inner plates, *event)`;
            empty unless the plan keeps them.
    """

    log_likelihood: Tensor
    latents: dict[str, Tensor]
    acceptance: Tensor
    swap_rate: Tensor
    step_size: Tensor
    num_likelihood_evaluations: int
    data_scale: float
    path: dict[str, Tensor] = field(default_factory=dict)


class Kernel(ABC):
    """How the chains of all temperatures start and move on one block of data.

    Kernels are frozen dataclasses: ladders with equal kernels compare equal.

    Implementing one: define `run`, and `num_values` if a step needs more than the latents and
    outputs of each chain.

    Attributes:
        biased: Whether its chains converge to another law than the power posteriors.

    Example:
        >>> import lvkam_pyro as lv
        >>> kernel = lv.ladder.GridGibbsKernel()
        >>> lv.ladder.Ladder(kernel=kernel) == lv.ladder.Ladder(kernel=lv.ladder.GridGibbsKernel())
        True
    """

    biased: ClassVar[bool] = False

    @abstractmethod
    def run(
        self,
        model: Model,
        x: Tensor,
        structure: ModelStructure,
        plan: LadderPlan,
        tick: Callable[[], object],
    ) -> LadderDraws:
        """Start the chains, warm them up, and keep draws; from torch's global generator.

        Args:
            model: The Pyro model.
            x: The observations, of shape `(N, ...)`.
            structure: The model's structure.
            plan: What to run.
            tick: Called after every step.

        Returns:
            The draws; those made so far when the user interrupts and enough are kept.

        Raises:
            KeyboardInterrupt: If interrupted earlier.
        """

    def num_values(self, x: Tensor, structure: ModelStructure) -> int:
        """Values that one chain of one datum holds in a step: what limits a block's size."""
        return x[0].numel() + sum(site.num_coordinates for site in structure.latents)
