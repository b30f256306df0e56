"""Slice sampling of the prior above a level of the likelihood, for all chains and units at once."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from lvkam_pyro.ladder.target import GradientTarget, possible

_MAX_TRIES = 100
"""Of one step: the interval is shorter than rounding by then, and the chain stays."""


@dataclass(frozen=True)
class Points:
    """Positions with their densities: chains S, perhaps of islands R, of units U.

    Attributes:
        position: `(S, U, D)` or `(S, R, U, D)`.
        log_prior: `(S, U)` or `(S, R, U)`.
        log_likelihood: The same.

    Example:
        >>> points = Points(torch.zeros(3, 2, 1), torch.zeros(3, 2), torch.arange(6.0).view(3, 2))
        >>> points.select(torch.tensor([[2, 0]])).log_likelihood
        tensor([[4., 1.]])
    """

    position: Tensor
    log_prior: Tensor
    log_likelihood: Tensor

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """All fields in their order."""
        return self.position, self.log_prior, self.log_likelihood

    def select(self, index: Tensor) -> Self:
        """The points of given index along the first axis, for each island and unit."""
        return type(self)(*(_take(tensor, index) for tensor in self.tensors))

    def where(self, mask: Tensor, other: Self) -> Self:
        """The other points where the mask holds."""
        pairs = zip(self.tensors, other.tensors, strict=True)
        return type(self)(*(torch.where(_fit(mask, mine), its, mine) for mine, its in pairs))

    def flatten(self) -> Self:
        """The islands' chains side by side, `(S R, U)`."""
        return type(self)(*(tensor.flatten(0, 1) for tensor in self.tensors))

    def unflatten(self, num_islands: int) -> Self:
        """The same again by islands, `(S, R, U)`."""
        return type(self)(*(tensor.unflatten(0, (-1, num_islands)) for tensor in self.tensors))

    def units(self, index: Tensor) -> Self:
        """The points of some of the units."""
        position, log_prior, log_likelihood = self.tensors
        return type(self)(
            position[..., index, :], log_prior[..., index], log_likelihood[..., index]
        )


class SliceTarget(GradientTarget):
    """A program over unconstrained latents whose densities are read without gradients.

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> SliceTarget(lv.bind(model, torch.zeros(3))).draw(4).log_likelihood.shape
        torch.Size([4, 3])
    """

    def draw(self, num_draws: int) -> Points:
        """Draws from the prior, `(draws, U)`."""
        sizes = torch.ones(num_draws).split(self.program.particles_per_run())
        parts = [self.draw_finite_prior(len(size)) for size in sizes]
        return self.points_at(torch.cat(parts))

    @torch.no_grad()
    def points_at(self, position: Tensor) -> Points:
        """The points at positions `(S, U, D)`; a density that is no number counts as none."""
        parts = position.split(self.program.particles_per_run())
        pairs = [self._log_densities(part) for part in parts]
        self.num_evaluations += len(position)
        densities = (torch.cat(each).double() for each in zip(*pairs, strict=True))
        return Points(position, *(possible(each) for each in densities))


@dataclass
class _Aim:
    """A slice's height, the line through a point, and the interval left on it, `(S, U)` each."""

    direction: Tensor
    height: Tensor
    low: Tensor
    high: Tensor
    num_tries: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.direction, self.height, self.low, self.high, self.num_tries


class SliceWalk:
    r"""Chains that leave the prior, restricted to likelihoods above a level, as it is.

    A step of hit-and-run slice sampling: a direction uniform in the metric of the live points, a
    height below the prior's density, an interval of fixed width laid about the point at random,
    and uniform draws from it that shrink it towards the point until one lies inside (Neal 2003,
    https://doi.org/10.1214/aos/1056562461, sections 4 and 5, without stepping out). All chains try
    at once; those that have made their steps are left out of the further runs.

    Args:
        target: The program.
        start: Points above their level, `(S, U)`.
        level: Of the log likelihood, `(S, U)`.
        num_steps: Of each chain, `(S, U)`.
        factor: A root of the live points' covariance, `(U, D, D)`.

    Attributes:
        points: Where the chains stand.
        num_tries: Of each chain in all, `(S, U)`.

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> target = SliceTarget(lv.bind(model, torch.zeros(1)))
        >>> start, steps = target.points_at(torch.zeros(500, 1, 1)), torch.full((500, 1), 5)
        >>> level = target.points_at(torch.ones(500, 1, 1)).log_likelihood
        >>> walk = SliceWalk(target, start, level, steps, torch.ones(1, 1, 1))
        >>> walk.run()
        >>> bool((walk.points.position.abs() < 1).all())
        True
    """

    def __init__(
        self, target: SliceTarget, start: Points, level: Tensor, num_steps: Tensor, factor: Tensor
    ) -> None:
        self.target, self.level, self.factor = target, level, factor
        self.points = Points(*(tensor.clone() for tensor in start.tensors))
        self.num_tries = torch.zeros_like(num_steps)
        self._left = num_steps.clone()
        # The diameter of a ball, in deviations of a uniform point inside.
        self._width = 2 * (factor.shape[-1] + 2) ** 0.5
        self._aim = self._take_aim(start)

    def run(self) -> None:
        """Make all steps."""
        while bool((self._left > 0).any()):
            is_done = self._left == 0
            most = int((~is_done).sum(0).max())
            self._try(is_done.byte().argsort(dim=0, stable=True)[:most])

    def _take_aim(self, points: Points) -> _Aim:
        normal = torch.randn_like(points.position)
        unit = normal / normal.norm(dim=-1, keepdim=True)
        direction = torch.einsum("uij,suj->sui", self.factor.to(unit), unit)
        uniform = torch.rand_like(points.log_prior)
        low = -self._width * uniform
        height = points.log_prior + torch.rand_like(uniform).log()
        return _Aim(direction, height, low, low + self._width, torch.zeros_like(low))

    def _try(self, index: Tensor) -> None:
        """One draw from the interval of each chain of given index `(S', U)`."""
        now, aim = self.points.select(index), _Aim(*(_take(t, index) for t in self._aim.tensors))
        level, left = _take(self.level, index), _take(self._left, index)
        place = aim.low + (aim.high - aim.low) * torch.rand_like(aim.low)
        moved = now.position + (place[..., None] * aim.direction).to(now.position)
        proposal = self.target.points_at(moved)
        inside = (proposal.log_prior >= aim.height) & (proposal.log_likelihood > level)
        stays = ~inside & (aim.num_tries >= _MAX_TRIES)
        stepped = (inside | stays) & (left > 0)
        after = now.where(stepped & inside, proposal)
        _put(self.points.tensors, index, after.tensors)
        low, high = torch.where(place < 0, place, aim.low), torch.where(place < 0, aim.high, place)
        shrunk = _Aim(aim.direction, aim.height, low, high, aim.num_tries + 1)
        pairs = zip(self._take_aim(after).tensors, shrunk.tensors, strict=True)
        aims = [torch.where(_fit(stepped, old), new, old) for new, old in pairs]
        _put(self._aim.tensors, index, aims)
        tries = _take(self.num_tries, index) + (left > 0).long()
        _put((self._left, self.num_tries), index, (left - stepped.long(), tries))


def _fit(index: Tensor, tensor: Tensor) -> Tensor:
    """A mask or an index with as many axes as a tensor."""
    return index if tensor.ndim == index.ndim else index[..., None]


def _take(tensor: Tensor, index: Tensor) -> Tensor:
    return tensor.take_along_dim(_fit(index, tensor), 0)


def _put(
    tensors: tuple[Tensor, ...], index: Tensor, values: "list[Tensor] | tuple[Tensor, ...]"
) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.scatter_(0, _fit(index, tensor).expand_as(value), value)
