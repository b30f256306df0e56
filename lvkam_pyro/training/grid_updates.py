"""Grids of the generator that follow the posterior while it is learned."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lvkam_pyro.kan.grids.grid import GridUpdate, check_splines, update_grid
from lvkam_pyro.kan.grids.grid_schedule import GridSchedule
from lvkam_pyro.kan.grids.knots import check_ratio
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN, layers_of
from lvkam_pyro.lvkam import LVKAM
from lvkam_pyro.modules.generators import MixtureOfExperts
from lvkam_pyro.options import check_count
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram

Network = KAN | KANLayer
"""The networks that `update_grid` moves."""


@dataclass(frozen=True, kw_only=True)
class GridUpdates:
    """Moves the grids of a model's generator, and of any other KAN in it, at scheduled epochs.

    The knots follow what the network sees at draws from the posterior of the training data: the
    guide's particles, resampled by their weights. The functions are projected on the new grids,
    see `update_grid`, and the optimiser forgets what it kept of their old coefficients. On request
    the knots of an LVKAM's prior follow the same draws, see `EnergyPrior.update_knots`.

    Arguments:
        schedule: The epochs after which the grids are moved.
        ratio: The share of the uniform grid, see `update_grid`.
        num_particles: Particles per datum; all of them are drawn from the guide, and as many from
            the posterior.
        move_prior: Whether the prior's knots are moved too.

    Raises:
        ValueError: If the ratio is out of range or there is no particle.
        TypeError: If `num_particles` is no integer, or the schedule no schedule.

    Example:
        >>> import lvkam_pyro as lv
        >>> updates = GridUpdates(schedule=lv.kan.GridSchedule(every=10, decay=0.5))
        >>> [epoch for epoch in range(100) if updates.schedule(epoch)]
        [10, 25, 48, 81]
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> x = torch.rand(20, 5)
        >>> [update] = updates.move([lv.bind(model, x)], lv.PriorGuide(model))
        >>> model.generator.layers[0].basis.breakpoints.shape
        torch.Size([3, 9])
    """

    schedule: GridSchedule
    ratio: float = 0.05
    num_particles: int = 16
    move_prior: bool = False

    def __post_init__(self) -> None:
        if not callable(self.schedule):
            raise TypeError(f"Expected a schedule such as GridSchedule(), got {self.schedule!r}.")
        check_ratio(self.ratio)
        check_count("num_particles", self.num_particles)

    def check(self, model: object) -> None:
        """Refuses a model whose grids cannot be moved, before a training starts.

        Raises:
            ValueError: If it has no KAN, or one that is not of B-splines.
        """
        networks = [*networks_of(model).values(), *self._of_prior(model)]
        if not networks:
            raise ValueError(
                "Expected a model with a KAN such as KANGenerator, whose grids can be moved, got "
                f"{type(model).__name__} without one. Leave grid_updates=None."
            )
        for network in networks:
            check_splines(network)

    def _of_prior(self, model: object) -> list[KANLayer]:
        """The prior's functions, if they are to be moved."""
        if not self.move_prior:
            return []
        functions = model.prior.functions if isinstance(model, LVKAM) else None
        if not isinstance(functions, KANLayer):
            raise ValueError(
                "Expected an LVKAM whose prior has one layer of functions, got "
                f"{type(model).__name__}. Leave move_prior=False."
            )
        return [functions]

    @torch.no_grad()
    def move(
        self,
        programs: list[BoundProgram],
        guide: Program,
        *,
        optimizer: Optimizer | None = None,
    ) -> list[GridUpdate]:
        """Moves the grids to where the posterior is now.

        Args:
            programs: The model, changed in place, bound to parts of the data that fit into memory.
            guide: Its guide.
            optimizer: The optimiser in use.

        Returns:
            The update of every network that the model called, and last of the prior.
        """
        model = programs[0].model
        draws = [self._posterior(program, guide) for program in programs]
        with record_inputs(networks_of(model)) as seen:
            for program, latents in zip(programs, draws, strict=True):
                program.record(latents)
        options: dict[str, Any] = {"ratio": self.ratio, "optimizer": optimizer, "tolerance": inf}
        moved = [update_grid(kan, torch.cat(inputs), **options) for kan, inputs in seen.items()]
        if self.move_prior:
            z = torch.cat([latents["z"].flatten(0, 1) for latents in draws])
            moved.append(cast("LVKAM", model).prior.update_knots(z, **options).grid)
        return moved

    def _posterior(self, program: BoundProgram, guide: Program) -> dict[str, Tensor]:
        """Draws from the posterior, in Pyro's layout."""
        particles = program.draw(guide, self.num_particles)
        return program.structure.all_to_pyro(particles.resample(self.num_particles))


@contextmanager
def record_inputs(
    networks: Mapping[nn.Module, Network],
) -> Iterator[dict[Network, list[Tensor]]]:
    """Records what networks are called with inside.

    Args:
        networks: The networks, each by the module that is called with its inputs.

    Yields:
        The rows ``(S, I)`` of every call, for each network that was called.

    Example:
        >>> network = KAN([3, 2])
        >>> with record_inputs(networks_of(network)) as seen:
        ...     _ = network(torch.rand(4, 5, 3))
        >>> seen[network][0].shape
        torch.Size([20, 3])
    """
    seen: dict[Network, list[Tensor]] = {}
    with ExitStack() as hooks:
        for called, network in networks.items():
            hooks.enter_context(_recording(called, network, seen))
        yield seen


def _recording(
    called: nn.Module, network: Network, seen: dict[Network, list[Tensor]]
) -> RemovableHandle:
    def record(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen.setdefault(network, []).append(arguments[0].detach().flatten(0, -2))

    return called.register_forward_pre_hook(record)


def networks_of(model: object) -> dict[nn.Module, Network]:
    """Every KAN of a model, and the experts of every gated mixture.

    Returns:
        The networks by the module that is called with their inputs: of a KAN the first layer,
        whatever the name of the network's argument; of experts the mixture. None of a model that
        is no module.

    Example:
        >>> model = nn.ModuleList([KAN([1, 2]), nn.Linear(1, 1), MixtureOfExperts(2, 5)])
        >>> [type(network).__name__ for network in networks_of(model).values()]
        ['KAN', 'KANLayer']
    """
    modules: Iterator[nn.Module] = model.modules() if isinstance(model, nn.Module) else iter(())
    found: dict[nn.Module, Network] = {}
    for module in modules:
        if isinstance(module, KAN):
            found[layers_of(module)[0]] = module
        if isinstance(module, MixtureOfExperts):
            found[module] = module.experts
    return found
