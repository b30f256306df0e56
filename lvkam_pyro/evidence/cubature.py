"""Integrals over few coordinates by boxes that are halved where the mass is, for each datum."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.evidence.boxes import Boxes

_MAX_ELEMENTS = 2**22
"""Values held in one run of the integrand (16 MB in single precision)."""

_MAX_LEVELS = 40
_FEW_ALONG_AXIS = 4
_MAX_DROP = 20.0
"""Nats between the nodes of a box above which a peak could hide among them."""

Integrand = Callable[[Tensor, Tensor], Tensor]
"""Positions `(S, N', Q)` and indices `(N',)` of data, to log values `(S, N')`."""


@dataclass(frozen=True)
class Integral:
    """The integrals of all data.

    Attributes:
        boxes: The boxes that were summed.
        log_total: `(N,)`.
        error: The sum of the last changes relative to the total, `(N,)`.
        num_evaluations: The positions of each datum, `(N,)`.
        num_possible: The first boxes in which a node has not vanished, `(N,)`.
    """

    boxes: Boxes
    log_total: Tensor
    error: Tensor
    num_evaluations: Tensor
    num_possible: Tensor

    def replaced(self, finer: "Integral", mask: Tensor) -> "Integral":
        """The integrals, those of some data from finer first boxes: what that changes is error.

        A part of the possible that lies between the nodes and the corners of a box is not seen, and
        no halving of the boxes beside it changes that. Of what fills few boxes it may be any part.
        """
        is_small = finer.num_possible < _FEW_ALONG_AXIS ** finer.boxes.low.shape[1]
        boxes = Boxes.join([self.boxes[~mask[self.boxes.datum]], finer.boxes])
        change = (finer.log_total - self.log_total).expm1().abs().nan_to_num(torch.inf, torch.inf)
        change = change.masked_fill(is_small, torch.inf)
        return Integral(
            boxes,
            torch.where(mask, finer.log_total, self.log_total),
            torch.where(mask, finer.error + change, self.error),
            self.num_evaluations + finer.num_evaluations,
            torch.where(mask, finer.num_possible, self.num_possible),
        )


@dataclass(frozen=True)
class Cubature:
    r"""Adaptive Gauss-Legendre integration of one function for each datum.

    .. math:: \log \int f_n(z) \, dz, \qquad z \in R^Q, \; Q \le 3

    Every box has a tensor rule in z. A box is halved along all coordinates until this changes its
    integral by no more than its share of the tolerance, and until its nodes vary too little for a
    peak or an edge of the function to hide among them. The error adds up the last changes; the
    next ones would be much smaller, so it errs on the safe side. In the manner of van Dooren and
    de Ridder (1976, https://doi.org/10.1016/0771-050X(76)90005-X), with all boxes of all data
    halved together.

    Args:
        integrand: The functions.
        num_data: N.
        num_values: Values that one position holds in a run of the integrand.
        tolerance: The relative change that each level of boxes may leave.
        max_evaluations: Positions for a datum beyond which none of its boxes is halved.
        rounding: The relative precision of the log values.

    Example:
        >>> def square_root_of_pi(z, data):
        ...     return -z.square().sum(-1)
        >>> cubature = Cubature(square_root_of_pi, num_data=1, num_values=1)
        >>> integral = cubature.integrate([torch.tensor([-9.0, 9.0]).double()])
        >>> integral.log_total.exp().square(), bool(integral.error < 1e-4)
        (tensor([3.1416], dtype=torch.float64), True)
    """

    integrand: Integrand
    num_data: int
    num_values: int
    tolerance: float = 1e-6
    max_evaluations: int = 2**20
    rounding: float = 1e-15

    def integrate(self, edges: Sequence[Tensor]) -> Integral:
        """Integrate over the product of the ranges of Q coordinates.

        Args:
            edges: Of each coordinate, increasing, in float64: the first boxes lie between them.

        Returns:
            The integrals.
        """
        whole, has_edges = self._integrate(Boxes.between(edges, num_data=self.num_data))
        if len(edges) == 1 or not bool(has_edges.any()):
            return whole
        halves = [torch.cat([e, (e[1:] + e[:-1]) / 2]).sort().values for e in edges]
        boxes = Boxes.between(halves, num_data=self.num_data)
        finer, _ = self._integrate(boxes[has_edges[boxes.datum]])
        return whole.replaced(finer, has_edges)

    def _integrate(self, boxes: Boxes) -> tuple[Integral, Tensor]:
        """The integrals by halving given boxes, and the data whose function has edges, `(N,)`."""
        has_edges = torch.zeros(self.num_data, dtype=torch.bool, device=boxes.datum.device)
        pending = self.evaluate(boxes)
        possible = pending.datum[pending.largest > -torch.inf]
        num_possible = torch.bincount(possible, minlength=self.num_data)
        pending = self._probe(pending, has_edges)
        done: list[Boxes] = []
        error = boxes.low.new_zeros(self.num_data)
        count = self._count(pending, has_edges)
        for _ in range(_MAX_LEVELS):
            total = _log_total([*done, pending], self.num_data)
            matters = pending.log_bound > self._threshold(pending, total)
            done.append(pending[~matters])
            parents, pending = pending[matters], pending[:0]
            if not len(parents):
                break
            children = self._probe(self.evaluate(parents.halve()), has_edges)
            count = count + self._count(children, has_edges)
            total = _log_total([*done, children], self.num_data)
            change = _log_change(parents, children)
            settled = change <= self._allowance(parents, total)
            settled |= (count >= self.max_evaluations)[parents.datum]
            relative = (change - total[parents.datum]).exp()
            error.index_add_(0, parents.datum[settled], relative[settled])
            unseen = (children.drop > _MAX_DROP) | children.is_cut
            unseen &= (count < self.max_evaluations)[children.datum]
            open_ = unseen | ~settled.repeat_interleave(len(children) // len(parents))
            done.append(children[~open_])
            pending = children[open_]
        boxes = Boxes.join([*done, pending])
        total = _log_total([boxes], self.num_data)
        return Integral(boxes, total, error, count, num_possible), has_edges

    def evaluate(self, boxes: Boxes) -> Boxes:
        """The boxes with their integrals."""
        parts = [(i, boxes[i].integrated(values)) for i, values in self.log_values(boxes)]
        order = torch.cat([index for index, _ in parts]).argsort()
        return Boxes.join([part for _, part in parts], order=order)

    def _probe(self, boxes: Boxes, has_edges: Tensor) -> Boxes:
        """The boxes, looked at in their corners too where a datum's function vanishes somewhere.

        An edge of what is possible may lie between the last nodes of one box and the first of the
        next, which are all alike. Flat ones that cut a box leave one of its corners on either side.

        Args:
            boxes: The boxes, evaluated at their nodes.
            has_edges: The data of which a node has vanished so far, `(N,)`, which is kept up.
        """
        vanishes = boxes.is_cut | (boxes.largest == -torch.inf)
        has_edges[boxes.datum[vanishes]] = True
        chosen = has_edges[boxes.datum]
        if not bool(chosen.any()):
            return boxes
        some, others = (mask.nonzero()[:, 0] for mask in (chosen, ~chosen))
        corners = self.log_values(boxes[some], Boxes.corners)
        parts = [(some[i], boxes[some[i]].cornered(values)) for i, values in corners]
        order = torch.cat([others, *(index for index, _ in parts)]).argsort()
        return Boxes.join([boxes[others], *(part for _, part in parts)], order=order)

    def log_values(
        self, boxes: Boxes, points: Callable[[Boxes], Tensor] = Boxes.nodes
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The log values at points of the boxes, their nodes say, a few boxes at a time.

        Yields:
            Indices of boxes `(M,)` and their log values `(M, nodes)`.
        """
        count = torch.bincount(boxes.datum, minlength=self.num_data)
        first = count.cumsum(0) - count
        num_nodes = points(boxes[:1]).shape[1]
        rank, last = 0, int(count.max())
        while rank < last:
            data = (count > rank).nonzero()[:, 0]
            rows = max(1, _MAX_ELEMENTS // (self.num_values * num_nodes * len(data)))
            ranks = torch.arange(rank, min(rank + rows, last), device=data.device)[:, None]
            # Where a datum has no box of this rank, the place of its last one is held by it again.
            held = first[data] + torch.minimum(ranks, count[data] - 1)
            nodes = points(boxes[held.flatten()]).unflatten(0, held.shape)
            values = self.integrand(nodes.transpose(1, 2).flatten(0, 1), data)
            present = ranks < count[data]
            yield held[present], values.unflatten(0, (len(ranks), -1)).transpose(1, 2)[present]
            rank += rows

    def _count(self, boxes: Boxes, has_edges: Tensor) -> Tensor:
        """Positions of each datum, `(N,)`: nodes, and corners where there are edges."""
        num_nodes, num_corners = boxes[:1].nodes().shape[1], boxes[:1].corners().shape[1]
        per_box = num_nodes + num_corners * has_edges.long()
        return torch.bincount(boxes.datum, minlength=self.num_data) * per_box

    def _threshold(self, boxes: Boxes, log_total: Tensor) -> Tensor:
        """The log mass that each of a datum's boxes may miss, `(B,)`."""
        count = torch.bincount(boxes.datum, minlength=self.num_data)
        return (log_total - count.log() + math.log(self.tolerance))[boxes.datum]

    def _allowance(self, boxes: Boxes, log_total: Tensor) -> Tensor:
        """The log of the change that each box may leave: its share, or the rounding's."""
        # Rounded positions move the log values along their slope.
        slope = boxes.drop * ((boxes.low.abs() + boxes.width) / boxes.width).amax(-1)
        magnitude = 1 + boxes.largest.abs().nan_to_num(0.0, 0.0, 0.0) + slope
        noise = boxes.log_mass + (self.rounding * magnitude).log()
        return torch.maximum(self._threshold(boxes, log_total), noise)


def _log_change(parents: Boxes, children: Boxes) -> Tensor:
    """The log of how much halving changes each integral, `(B,)`."""
    refined = children.log_mass.unflatten(0, (len(parents), -1)).logsumexp(-1)
    high = torch.maximum(refined, parents.log_mass)
    low = torch.minimum(refined, parents.log_mass)
    gap = torch.where(high > -torch.inf, low - high, 0.0)
    return high + (-gap.expm1()).log()


def _log_total(parts: Sequence[Boxes], num_data: int) -> Tensor:
    """The log of the sum of the masses of each datum, `(N,)`."""
    datum = torch.cat([part.datum for part in parts])
    log_mass = torch.cat([part.log_mass for part in parts])
    largest = log_mass.new_full((num_data,), -torch.inf).scatter_reduce(0, datum, log_mass, "amax")
    centre = largest.nan_to_num(0.0, 0.0, 0.0)
    shares = (log_mass - centre[datum]).exp()
    return centre + torch.zeros_like(centre).index_add(0, datum, shares).log()
