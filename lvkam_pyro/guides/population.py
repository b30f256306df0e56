"""Guides that draw whole populations: what makes the weights of dependent draws right."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

from lvkam_pyro.guides.memory import ChainMemory
from lvkam_pyro.statistics.jackknife import log_mean_exp
from lvkam_pyro.statistics.resampling import Resampler, resample_systematic
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import Binder
from lvkam_pyro.tracing.prior_guide import LibraryGuide
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.session import no_handlers
from lvkam_pyro.tracing.structure import LatentSite, Unit

Draw = Callable[[int], tuple[Tensor, Tensor]]
"""From a number of draws S to positions `(S, U, Q)` and their log densities `(S, U)`."""


@dataclass(frozen=True)
class Population:
    r"""Weighted draws for each datum, of which any number can be taken.

    Attributes:
        points: `(S, U, Q)`.
        log_joint: The log density of each point and the data, `(S, U)`.
        log_weights: `(S, U)`; the mean of their exponentials estimates p(x_n).
    """

    points: Tensor
    log_joint: Tensor
    log_weights: Tensor

    @property
    def log_evidence(self) -> Tensor:
        """The log of the mean weight, `(U,)`."""
        return log_mean_exp(self.log_weights)

    @property
    def log_density(self) -> Tensor:
        """Log p(x_n, z) less the log weight: the density that gives each point its weight."""
        return self.log_joint - self.log_weights

    def resample(self, num_draws: int, resampler: Resampler) -> tuple[Tensor, Tensor]:
        r"""Equally weighted points, and the density that gives all of them the mean weight.

        .. math:: \log q(z) = \log p(x_n, z) - \log \hat p(x_n)

        so that the mean of the new weights is that of the old ones: weights count once.

        Args:
            num_draws: Number of draws D.
            resampler: The scheme.

        Returns:
            Points `(D, U, Q)` and log densities `(D, U)`.

        Raises:
            ValueError: If a datum has no point of finite, positive weight.

        Example:
            >>> log_weights = torch.tensor([[0.0], [-torch.inf]])
            >>> population = Population(torch.randn(2, 1, 3), log_weights - 1.0, log_weights)
            >>> population.resample(3, resample_systematic)[1].squeeze()  # -1 - log(1/2)
            tensor([-0.3069, -0.3069, -0.3069])
        """
        index = resampler(self.log_weights, num_draws)
        points = self.points.take_along_dim(index.unsqueeze(-1), 0)
        return points, self.log_joint.gather(0, index) - self.log_evidence

    def take(self, num_draws: int) -> tuple[Tensor, Tensor]:
        """All points with their own weights, or fewer of them with equal weights."""
        if num_draws == len(self.points):
            return self.points, self.log_density
        return self.resample(num_draws, resample_systematic)


class PopulationGuide(LibraryGuide):
    """A Pyro guide whose particles of one datum are one population, drawn together.

    Such draws depend on each other, so what counts as their density is what makes their weights
    right; see `Population`. The density is known at the guide's own draws alone. The draws of one
    call are one population: replicates need one call each, which is what `Importance`
    does. They carry no gradient and the guide has no parameters.

    Implementing one: define `prepare`, whose function adds to `num_evaluations`, and say so if its
    draws are `independent`.

    Args:
        model: The Pyro model.

    Attributes:
        memory: Where the chains of each datum stand, if they go on from update to update.
        num_evaluations: Likelihood evaluations of a datum behind all draws so far.
        independent: Whether its draws are, so that several calls can share them out.

    Example:
        >>> import lvkam_pyro as lv
        >>> issubclass(lv.guides.LookaheadGuide, PopulationGuide)
        True
    """

    independent: ClassVar[bool] = False

    def __init__(self, model: Program) -> None:
        self.model = model
        self.memory: ChainMemory | None = None
        self.num_evaluations = 0
        self._binder = Binder()

    @abstractmethod
    def prepare(self, program: BoundProgram) -> Draw:
        """A function that draws populations at the program's present parameters.

        Args:
            program: The model, bound to the data.

        Returns:
            From the number of draws to positions and log densities.
        """

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draw every latent site of the model for its arguments."""
        with no_handlers():
            program = self._binder(self.model, None, *args, **kwargs)
        return self.on(program)()

    def memory_for(self, program: BoundProgram) -> ChainMemory | None:
        """The memory, if it is kept and a training says which data the program's are."""
        memory = self.memory
        return memory if memory is not None and memory.is_for(program.num_units) else None

    def on(self, program: BoundProgram) -> "Populations":
        """The guide for these data at the present parameters, prepared once for many calls.

        Example:
            >>> import lvkam_pyro as lv
            >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
            >>> guide, program = lv.guides.LookaheadGuide(model), lv.bind(model, torch.rand(5, 3))
            >>> guide.on(program)()["z"].shape
            torch.Size([5, 2])
        """
        with torch.no_grad(), no_handlers():
            return Populations(program, self.prepare(program), independent=self.independent)


class Populations(LibraryGuide):
    """A guide that draws what was prepared for some data.

    Args:
        program: The model, bound to these data.
        draw: What draws populations.
        independent: Whether its draws are independent of each other.

    Example:
        >>> issubclass(Populations, LibraryGuide)
        True
    """

    def __init__(self, program: BoundProgram, draw: Draw, *, independent: bool = False) -> None:
        self.program = program
        self.independent = independent
        self._draw = draw

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draw every latent site of the model; the arguments are known already."""
        program, structure = self.program, self.program.structure
        distribution = _PopulationDistribution(self._draw, program)
        is_joint = program.unit is Unit.DATA_SET
        size, dim = program.num_units, structure.data_dim
        plate = nullcontext() if is_joint else pyro.plate(structure.data_plate, size, dim=dim)
        with plate:
            position = pyro.sample("_population", distribution, infer={"is_auxiliary": True})
            values = structure.split(position)
            return {
                site.name: _sample_at(self._lay_out(values[site.name], site), site)
                for site in structure.latents
            }

    def _lay_out(self, value: Tensor, site: LatentSite) -> Tensor:
        """Values `(*plates, *inner plates, *event)` of a site, each plate's axis at its place.

        The axes left of all of its plates are there only with the particles'.
        """
        structure, own = self.program.structure, (*site.inner_shape, *site.event_shape)
        is_stacked = value.ndim - len(own) > structure.num_plates
        spread = structure.to_pyro(value.reshape(-1, self.program.num_units, *own), site)
        return spread if is_stacked else spread[(0,) * (1 + structure.num_outer_axes(site))]


def _sample_at(value: Tensor, site: LatentSite) -> Tensor:
    """A site that holds a value, in its plates: the population's own site has the density."""
    with ExitStack() as plates:
        for dim, size in zip(site.inner_dims, site.inner_shape, strict=True):
            plates.enter_context(pyro.plate(f"_{site.name}_{-dim}", size, dim=dim))
        drawn: Tensor = pyro.sample(site.name, dist.Delta(value, event_dim=len(site.event_shape)))
    return drawn


class _PopulationDistribution(TorchDistribution):
    """Positions drawn as populations; the density is that of its own last draws."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 - torch's own form
    support = constraints.real_vector

    def __init__(self, draw: Draw, program: BoundProgram) -> None:
        structure = program.structure
        self.draw = draw
        self.num_units = program.num_units
        self.num_right = -structure.data_dim - 1
        """Axes of plates on the right of the data's."""
        self._drawn: tuple[Tensor, Tensor] | None = None
        batch = Size([self.num_units, *[1] * self.num_right])
        sizes = ((*site.inner_shape, *site.event_shape) for site in structure.latents)
        width = sum(Size(size).numel() for size in sizes)
        super().__init__(batch, Size([width]), validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Self | None = None) -> Self:
        new = self._get_checked_instance(_PopulationDistribution, _instance)
        new.__dict__.update(self.__dict__)
        new._batch_shape = Size(batch_shape)
        return new

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        num_draws = shape[:-1].numel() // self.num_units
        with torch.no_grad(), no_handlers():
            position, log_density = self.draw(num_draws)
        position = position.reshape(shape)
        self._drawn = position, log_density.to(position.dtype).reshape(shape[:-1])
        return position

    def log_prob(self, value: Tensor) -> Tensor:
        if self._drawn is None or not torch.equal(value, self._drawn[0]):
            raise RuntimeError(
                "A population has a density at its own draws alone. Score the latents of another "
                "run by the model, or use AmortizedGuide."
            )
        return self._drawn[1]
