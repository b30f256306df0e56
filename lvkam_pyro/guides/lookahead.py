"""The look-ahead guide: nearly exact posterior draws of an additive model, without a network."""

import math
from collections.abc import Sequence
from typing import Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

from lvkam_pyro.distributions.resampling import resample_systematic
from lvkam_pyro.guides.additive import AdditiveReader
from lvkam_pyro.guides.lookahead_sampler import LookaheadSampler
from lvkam_pyro.guides.structure import Model
from lvkam_pyro.guides.tables import AdditiveTables
from lvkam_pyro.guides.validation import check_count


class LookaheadGuide:
    r"""A Pyro guide that draws latents by look-ahead sequential importance resampling.

    For models whose output is a sum of functions of one latent each with normal noise, such as an
    `LVKAM` with one layer: see `AdditiveModel` for the form and `LookaheadSampler` for the method.
    It follows the model's parameters by itself, so it is a proposal to train with that needs no
    network and no training of its own; its weights are nearly equal. In `draw_particles` the
    particles of a datum are one weighted population; under `Predictive`, or where fewer draws are
    asked for than `num_particles`, draws are resampled from a population of that size.

    Each draw is uniform in the cell of its quadrature node, and its weight accounts for that: the
    weights are those of the model itself, not of its nodes.

    Args:
        model: The Pyro model.
        num_particles: The least size of a population.
        num_nodes: Nodes of each latent; None: as many as the functions need, 96 to 1024.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is below 1; when called, if the model is not additive.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> particles = lv.draw_particles(model, LookaheadGuide(model), torch.rand(20, 5), 256)
        >>> particles.latents["z"].shape
        torch.Size([256, 20, 3])
    """

    def __init__(
        self, model: Model, *, num_particles: int = 64, num_nodes: int | None = None
    ) -> None:
        self.model = model
        self.num_particles = check_count("num_particles", num_particles)
        self.num_nodes = None if num_nodes is None else check_count("num_nodes", num_nodes)
        self._read = AdditiveReader(model)

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """Draw every latent site of the model for data `x` of shape `(N, ...)`."""
        # Hidden from whoever records the guide: these are runs of the model.
        with torch.no_grad(), pyro.poutine.block():
            additive = self._read(x)
            tables = AdditiveTables.of(additive, num_nodes=self.num_nodes)
            law = _PopulationLaw(tables, *tables.project(x), num_particles=self.num_particles)
        coordinates, structure = additive.coordinates, additive.structure
        with pyro.plate(structure.data_plate, len(x), dim=structure.data_dim):
            position = pyro.sample("_lookahead", law, infer={"is_auxiliary": True})
            return {
                name: pyro.sample(name, dist.Delta(value, event_dim=value.ndim - position.ndim + 1))
                for name, value in coordinates.split(position).items()
            }


class _PopulationLaw(TorchDistribution):
    """Positions `(N, Q)` drawn as populations; the density is that of its own last draws.

    A population's draws depend on each other, so their density is what makes their weights right:
    the joint density of nodes and data divided by the weight, spread over the nodes' cells.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 - torch's own form
    support = constraints.real_vector

    def __init__(
        self, tables: AdditiveTables, residual: Tensor, constant: Tensor, *, num_particles: int
    ) -> None:
        self.tables = tables
        self.residual = residual
        self.constant = constant
        self.num_particles = num_particles
        self.dtype = tables.additive.coordinates.dtype
        self._drawn: tuple[Tensor, Tensor] | None = None
        shape = Size([len(residual)]), Size([tables.num_coordinates])
        super().__init__(*shape, validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Self | None = None) -> Self:
        new = self._get_checked_instance(_PopulationLaw, _instance)
        new.__dict__.update(self.__dict__)
        new._batch_shape = Size(batch_shape)
        return new

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        num_draws = shape[:-2].numel()
        with torch.no_grad():
            nodes, log_density = self._draw_nodes(num_draws)
            position = self.tables.position(nodes)
        width = self.tables.at(self.tables.cell_width, nodes).log().sum(-1)
        position = position.to(self.dtype).view(shape)
        self._drawn = position, (log_density - width).to(self.dtype).view(shape[:-1])
        return position

    def _draw_nodes(self, num_draws: int) -> tuple[Tensor, Tensor]:
        """Nodes `(S, N, Q)` and the log mass of each under the population's law, `(S, N)`."""
        sampler = LookaheadSampler(self.tables, dtype=self.dtype)
        size = max(num_draws, self.num_particles)
        draws = sampler.sample(self.residual, self.constant, size)
        nodes, log_weights, log_joint = draws.nodes[0], draws.log_weights[0], draws.log_joint[0]
        if size == num_draws:
            return nodes, log_joint - log_weights
        index = resample_systematic(log_weights, num_draws)
        log_evidence = log_weights.logsumexp(0) - math.log(size)
        return nodes.take_along_dim(index[..., None], 0), log_joint.gather(0, index) - log_evidence

    def log_prob(self, value: Tensor) -> Tensor:
        if self._drawn is None or not torch.equal(value, self._drawn[0]):
            raise RuntimeError(
                "A look-ahead population has a density at its own draws alone. Score the latents "
                "of another run by the model, or use AmortizedGuide."
            )
        return self._drawn[1]
