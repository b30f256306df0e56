"""Guides that draw whole populations: what makes the weights of dependent draws right."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.poutine.runtime import _DIM_ALLOCATOR
from torch import Size, Tensor
from torch.distributions import constraints

from lvkam_pyro.statistics.resampling import Resampler, resample_systematic
from lvkam_pyro.tracing.densities import sum_log_probs
from lvkam_pyro.tracing.recorder import SiteRecorder
from lvkam_pyro.tracing.structure import LatentSite, Model, ModelStructure

Draw = Callable[[int], tuple[Tensor, Tensor]]
"""From a number of draws S to positions `(S, N, Q)` and their log densities `(S, N)`."""


@dataclass(frozen=True)
class Population:
    r"""Weighted draws for each datum, of which any number can be taken.

    Attributes:
        points: `(S, N, Q)`.
        log_joint: The log density of each point and the data, `(S, N)`.
        log_weights: `(S, N)`; the mean of their exponentials estimates p(x_n).
    """

    points: Tensor
    log_joint: Tensor
    log_weights: Tensor

    @property
    def log_evidence(self) -> Tensor:
        """The log of the mean weight, `(N,)`."""
        return self.log_weights.logsumexp(0) - math.log(len(self.log_weights))

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
            Points `(D, N, Q)` and log densities `(D, N)`.

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

    def take(
        self, num_draws: int, resampler: Resampler = resample_systematic
    ) -> tuple[Tensor, Tensor]:
        """All points with their own weights, or fewer of them with equal weights."""
        if num_draws == len(self.points):
            return self.points, self.log_density
        return self.resample(num_draws, resampler)


class PopulationGuide(ABC):
    """A Pyro guide whose particles of one datum are one population, drawn together.

    Such draws depend on each other, so what counts as their density is what makes their weights
    right; see `Population`. The density is known at the guide's own draws alone. The draws of one
    call are one population: replicates need one call each, which is what `Importance`
    does. They carry no gradient and the guide has no parameters.

    Implementing one: define `prepare`, whose function adds to `num_evaluations`.

    Args:
        model: The Pyro model, with its latents directly in the data plate.

    Attributes:
        num_evaluations: Likelihood evaluations of a datum behind all draws so far.

    Example:
        >>> import lvkam_pyro as lv
        >>> issubclass(lv.guides.LookaheadGuide, PopulationGuide)
        True
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.num_evaluations = 0
        self._structure: ModelStructure | None = None

    @abstractmethod
    def prepare(self, x: Tensor, structure: ModelStructure) -> Draw:
        """What draws populations at the model's present parameters.

        Args:
            x: The observations, of shape `(N, ...)`.
            structure: The model's structure.

        Returns:
            From the number of draws to positions and log densities.
        """

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """Draw every latent site of the model for data `x` of shape `(N, ...)`."""
        with torch.no_grad(), apart():
            structure = self.structure_of(x)
            draw = self.prepare(x, structure)
        law = _PopulationLaw(draw, len(x), structure)
        with pyro.plate(structure.data_plate, len(x), dim=structure.data_dim):
            position = pyro.sample("_population", law, infer={"is_auxiliary": True})
            values = split(position, structure)
            return {
                site.name: pyro.sample(site.name, _at(values[site.name], site))
                for site in structure.latents
            }

    def prepared(self, x: Tensor, structure: ModelStructure) -> "PopulationGuide":
        """The same guide for these data at the present parameters, prepared once for many calls.

        Example:
            >>> import lvkam_pyro as lv
            >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
            >>> guide, x = lv.guides.LookaheadGuide(model), torch.rand(5, 3)
            >>> guide.prepared(x, guide.structure_of(x))(x)["z"].shape
            torch.Size([5, 2])
        """
        with torch.no_grad(), apart():
            return _PreparedGuide(self.model, self.prepare(x, structure))

    def structure_of(self, x: Tensor) -> ModelStructure:
        """The model's structure, found once.

        Raises:
            ValueError: If a latent lies in a plate inside the data plate.
        """
        if self._structure is None:
            structure = ModelStructure.of(self.model, x)
            for site in structure.latents:
                _check_site(site)
            self._structure = structure
        return self._structure


class _PreparedGuide(PopulationGuide):
    """A guide whose populations are drawn by what another prepared."""

    def __init__(self, model: Model, draw: Draw) -> None:
        super().__init__(model)
        self._draw = draw

    def prepare(self, x: Tensor, structure: ModelStructure) -> Draw:
        """What was prepared."""
        return self._draw


@contextmanager
def apart() -> Iterator[None]:
    """Run Pyro programs as if nothing were around them: no handler, no plate.

    A guide that runs the model is itself run inside plates of the same names; Pyro's handlers can
    be blocked, but its table of the plates that are open has no such door.

    Yields:
        Nothing.

    Example:
        >>> with pyro.plate("data", 5), apart(), pyro.plate("data", 3):
        ...     pyro.sample("z", dist.Normal(0.0, 1.0)).shape
        torch.Size([3])
    """
    around, _DIM_ALLOCATOR._stack = _DIM_ALLOCATOR._stack, []
    try:
        with pyro.poutine.block():
            yield
    finally:
        _DIM_ALLOCATOR._stack = around


def join(latents: dict[str, Tensor], structure: ModelStructure, num_data: int) -> Tensor:
    """Positions `(S, N, Q)` from the latents of particles, `(S, N or 1, *event)` each.

    Example:
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> structure = ModelStructure.of(model, torch.zeros(3))
        >>> join({"z": torch.zeros(8, 1)}, structure, 3).shape
        torch.Size([8, 3, 1])
    """
    parts = [latents[site.name] for site in structure.latents]
    flat = torch.cat([part.reshape(*part.shape[:2], -1) for part in parts], -1)
    return flat.expand(-1, num_data, -1)


def split(position: Tensor, structure: ModelStructure) -> dict[str, Tensor]:
    """The sites' values from positions `(*batch, Q)`: name to `(*batch, *event)`.

    Example:
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)
        >>> structure = ModelStructure.of(model, torch.zeros(3))
        >>> split(torch.zeros(8, 3, 2), structure)["z"].shape
        torch.Size([8, 3, 2])
    """
    sites = structure.latents
    parts = position.split([site.event_shape.numel() for site in sites], -1)
    return {
        site.name: part.reshape(*part.shape[:-1], *site.event_shape)
        for site, part in zip(sites, parts, strict=True)
    }


def log_joint_at(
    model: Model, x: Tensor, latents: Mapping[str, Tensor], structure: ModelStructure
) -> Tensor:
    """Log p(x_n, z) at given latents.

    Args:
        model: The Pyro model.
        x: The observations, of shape `(N, ...)`.
        latents: Site name to values, `(S, N, *event)` each.
        structure: The model's structure.

    Returns:
        `(S, N)`.

    Example:
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(3)
        >>> log_joint_at(model, x, {"z": torch.zeros(1, 3)}, ModelStructure.of(model, x))
        tensor([[-1.8379, -1.8379, -1.8379]])
    """
    run = SiteRecorder(
        {site.name: structure.to_pyro(latents[site.name], site) for site in structure.latents}
    )
    with run:
        model(x)
    shape = (len(next(iter(latents.values()))), len(x))
    return sum_log_probs(run.latents, structure, shape) + sum_log_probs(
        run.observations, structure, shape
    )


def _at(value: Tensor, site: LatentSite) -> dist.Delta:
    """A site's law that holds one value: the population's law has the density."""
    return dist.Delta(value, event_dim=len(site.event_shape))


def _check_site(site: LatentSite) -> None:
    if site.inner_shape:
        raise ValueError(
            f"Expected latents in the data plate alone, got '{site.name}' inside further plates of "
            f"sizes {tuple(site.inner_shape)}. Declare them as one event with .to_event(...)."
        )


class _PopulationLaw(TorchDistribution):
    """Positions drawn as populations; the density is that of its own last draws."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 - torch's own form
    support = constraints.real_vector

    def __init__(self, draw: Draw, num_data: int, structure: ModelStructure) -> None:
        self.draw = draw
        self.num_data = num_data
        self.num_right = -structure.data_dim - 1
        """Axes of plates on the right of the data's."""
        self._drawn: tuple[Tensor, Tensor] | None = None
        batch = Size([num_data, *[1] * self.num_right])
        width = sum(site.event_shape.numel() for site in structure.latents)
        super().__init__(batch, Size([width]), validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Self | None = None) -> Self:
        new = self._get_checked_instance(_PopulationLaw, _instance)
        new.__dict__.update(self.__dict__)
        new._batch_shape = Size(batch_shape)
        return new

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        num_draws = shape[:-1].numel() // self.num_data
        with torch.no_grad(), apart():
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
