"""Slice sampling of the prior above a level of the likelihood, for all chains and units at once."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from lvkam_pyro.ladder.target import GradientTarget

_MAX_TRIES = 100
"""Of one step; the interval is then shorter than rounding, and the chain stays."""


@dataclass(frozen=True)
class Points:
    """Positions and their densities.

    Attributes:
        position: `(S, U, D)`.
        log_prior: `(S, U)`.
        log_likelihood: `(S, U)`.

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
        """The points of given index `(S', U)`, per unit."""
        return type(self)(*(take(tensor, index) for tensor in self.tensors))

    def where(self, mask: Tensor, other: Self) -> Self:
        """The other points where a mask `(S, U)` holds."""
        pairs = zip(self.tensors, other.tensors, strict=True)
        return type(self)(*(torch.where(fit(mask, mine), its, mine) for mine, its in pairs))


def fit(index: Tensor, tensor: Tensor) -> Tensor:
    """A mask or index with as many axes as a tensor."""
    return index if tensor.ndim == index.ndim else index[..., None]


def take(tensor: Tensor, index: Tensor) -> Tensor:
    """The entries of given index `(S', U)` along the first axis."""
    return tensor.take_along_dim(fit(index, tensor), 0)


class SliceTarget(GradientTarget):
    """A program over unconstrained latents, with densities alone."""

    @torch.no_grad()
    def points_at(self, position: Tensor) -> Points:
        """The points at positions `(S, U, D)`; a NaN density counts as none."""
        parts = position.split(self.program.particles_per_run())
        pairs = [self._log_densities(part) for part in parts]
        self.num_evaluations += len(position)
        prior, likelihood = (torch.cat(each).double() for each in zip(*pairs, strict=True))
        return Points(position, prior.nan_to_num(-torch.inf), likelihood.nan_to_num(-torch.inf, torch.inf, -torch.inf))


class SliceWalk:
    def __init__(self, target, start: Points, floor: Tensor, num_steps: Tensor, factor: Tensor):
        self.target, self.now, self.floor, self.factor = target, start, floor, factor
        self.left = num_steps.clone()
        size = int(num_steps.max())
        self.path = Points(*(t.expand(size, *t.shape).clone() for t in start.tensors))
        self.num_tries = torch.zeros_like(floor)
        dim = factor.shape[-1]
        self.width = 2 * (dim + 2) ** 0.5
        self.direction, self.height, self.low, self.high, self.tries = self._aim(start)

    def _aim(self, points):
        normal = torch.randn_like(points.position)
        unit = normal / normal.norm(dim=-1, keepdim=True)
        direction = torch.einsum("uij,suj->sui", self.factor, unit)
        height = points.log_prior + torch.rand_like(points.log_prior).log()
        low = -self.width * torch.rand_like(height)
        return direction, height, low, low + self.width, torch.zeros_like(low)

    def run(self) -> Points:
        while True:
            pending = self.left > 0
            num = int(pending.sum(0).max())
            if num == 0:
                return self.path
            index = (~pending).to(torch.uint8).argsort(dim=0, stable=True)[:num]
            self._try(index)

    def _try(self, index):
        now = self.now.select(index)
        pending = take(self.left, index) > 0
        direction, height, low, high, tries = (take(t, index) for t in (self.direction, self.height, self.low, self.high, self.tries))
        t = low + (high - low) * torch.rand_like(low)
        proposal = self.target.points_at(now.position + (t[..., None] * direction).to(now.position))
        ok = (proposal.log_prior >= height) & (proposal.log_likelihood > take(self.floor, index))
        stuck = ~ok & (tries >= _MAX_TRIES)
        proposal = proposal.where(stuck, now)
        ok = (ok | stuck) & pending
        after = now.where(ok, proposal)
        fresh = self._aim(after)
        shrunk = (direction, height, torch.where(t < 0, t, low), torch.where(t < 0, high, t), tries + 1)
        left = take(self.left, index)
        for mine, its in zip(self.now.tensors, after.tensors):
            mine.scatter_(0, fit(index, mine).expand_as(its), its)
        for name, new, old in zip(("direction", "height", "low", "high", "tries"), fresh, shrunk):
            mine = getattr(self, name)
            value = torch.where(fit(ok, new), new, old)
            mine.scatter_(0, fit(index, mine).expand_as(value), value)
        slot = (left - 1).clamp(min=0)
        s, u = ok.nonzero(as_tuple=True)
        row = index[s, u]
        for mine, its in zip(self.path.tensors, after.tensors):
            mine[slot[s, u], row, u] = its[s, u]
        self.left.scatter_(0, index, left - ok.to(left))
        self.num_tries.scatter_add_(0, index, pending.to(self.num_tries))
