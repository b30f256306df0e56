"""Evidence of models with few latents by adaptive Gauss-Legendre quadrature."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from lvkam_pyro.additive.cells import PriorCells, prior_cells
from lvkam_pyro.additive.coordinates import LatentCoordinates
from lvkam_pyro.additive.integrand import LatentIntegrand
from lvkam_pyro.evidence.boxes import Boxes
from lvkam_pyro.evidence.cubature import Cubature, Integral
from lvkam_pyro.evidence.estimator import with_fisher_gradient
from lvkam_pyro.evidence.replicates import ReplicateEstimator, Summary
from lvkam_pyro.evidence.verdict import Gate
from lvkam_pyro.options import check_count
from lvkam_pyro.statistics.resampling import resample_systematic
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram

MAX_COORDINATES = 3
"""Latent coordinates of a datum above which a tensor rule is no method."""

_NUM_CELLS = {1: 24, 2: 12, 3: 6}
_VALUES_PER_BOX = 2**10
"""Values that a first box may need, which limits the data of a block."""

_MAX_DISCRETIZATION_ERROR = 1e-3
_MAX_END_MASS = 1e-6
_NUM_DRAWS = 256
_NUM_EQUAL_REPLICATES = 32
"""Without Monte Carlo all replicates are equal; as many as other estimators have."""


class Quadrature(ReplicateEstimator):
    r"""The integral over up to three latent coordinates, without Monte Carlo error.

    .. math:: \log p(x_n) = \log \int p(x_n | z) \prod_{q \le 3} p_q(z_q) \, dz

    by tensor Gauss-Legendre rules in z on boxes that begin at the knots of the priors and are
    halved, for each datum, where its posterior has mass (see `Cubature`). For any likelihood, and
    any latents that are independent a priori in their coordinates. The standard error is zero; the
    discretisation error adds up what the last halving of each box changed. Diagnostics: `end_mass`
    (the posterior's share in the boxes at the open ends of unbounded priors) and `evaluations`,
    `(N,)` each. The verdict is unreliable where the discretisation error is above 0.001 nats or
    the end mass above 1e-6.

    Args:
        tolerance: The relative change that the last halving may leave: the error is some hundred
            times smaller.
        max_evaluations: Likelihood evaluations of a datum at which it stops.

    Raises:
        TypeError: If `max_evaluations` is no integer.
        ValueError: If an option is not positive; when used, if the model has more than three
            coordinates or latents that depend on each other a priori.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> Quadrature().estimate(model, torch.zeros(2)).log_evidence  # log N(0; 0, 2)
        tensor([-1.2655, -1.2655], dtype=torch.float64)
    """

    name = "Quadrature"
    remedy = "Raise max_evaluations, or use QuasiMonteCarlo or a ladder."

    def __init__(self, *, tolerance: float = 1e-5, max_evaluations: int = 2**22) -> None:
        super().__init__(1, num_replicates=_NUM_EQUAL_REPLICATES)
        if not tolerance > 0:
            raise ValueError(f"Expected tolerance > 0, but got {tolerance}. Use e.g. 1e-5.")
        self.tolerance = tolerance
        self.max_evaluations = check_count("max_evaluations", max_evaluations)

    def summaries(self, program: BoundProgram, guide: Program | None) -> Iterator[Summary]:
        """The integrals of each block of data; see the base class. A guide is left aside."""
        cells = _first_cells(program)
        num_boxes = math.prod(len(edges) - 1 for edges in cells.edges)
        for block in program.blocks(_VALUES_PER_BOX * num_boxes):
            integral = self._cubature(LatentIntegrand.of(block)).integrate(cells.edges)
            yield {
                "replicates": integral.log_total.expand(self.num_replicates, -1),
                "num_evaluations": integral.num_evaluations,
                "discretization_error": integral.error,
                "end_mass": _end_mass(integral, cells),
                "evaluations": integral.num_evaluations,
            }

    def _cubature(self, integrand: LatentIntegrand) -> Cubature:
        return Cubature(
            integrand,
            num_data=integrand.program.num_units,
            num_values=integrand.program.values_per_unit,
            tolerance=self.tolerance,
            max_evaluations=self.max_evaluations,
            rounding=torch.finfo(integrand.coordinates.dtype).eps,
        )

    def average(self, values: Tensor, dim: int = 0) -> Tensor:
        """The value of any of the replicates, which are equal."""
        return values.select(dim, 0)

    def leave_one_out(self, replicates: Tensor) -> Tensor:
        """The replicates: without one, the others say the same."""
        return replicates

    def gates(self, summary: Summary) -> list[Gate]:
        """The boxes are small enough, and reach far enough."""
        error, end_mass = summary["discretization_error"], summary["end_mass"]
        return [
            Gate(~summary["replicates"][0].isfinite(), "have no node of finite, positive density"),
            Gate.above("a discretisation error in nats", error, _MAX_DISCRETIZATION_ERROR),
            Gate.above("a posterior mass at the end of the range", end_mass, _MAX_END_MASS),
        ]

    def log_evidence(self, program: BoundProgram, guide: Program | None) -> tuple[Tensor, float]:
        """The total, whose gradient is that of the joint density at draws among the nodes."""
        with torch.no_grad():
            cells, integrand = _first_cells(program), LatentIntegrand.of(program)
            cubature = self._cubature(integrand)
            integral = cubature.integrate(cells.edges)
            draws = integrand.coordinates.split(_draw_nodes(cubature, integral.boxes))
        total = float(integral.log_total.sum())
        return with_fisher_gradient(total, program, draws), program.data_scale


def _first_cells(program: BoundProgram) -> PriorCells:
    """The cells to begin with, of a program with few latents."""
    coordinates = LatentCoordinates.of(program)
    num_coordinates = coordinates.num_coordinates
    if not 1 <= num_coordinates <= MAX_COORDINATES:
        raise ValueError(
            f"Expected 1 to {MAX_COORDINATES} latent coordinates of a datum, but the model has "
            f"{num_coordinates}. Use QuasiMonteCarlo (few more), Lookahead (additive models) or "
            "MultistateBAR."
        )
    # In three dimensions the long cells of the tails would cost more than all others.
    with_tails = num_coordinates < MAX_COORDINATES
    return prior_cells(coordinates, _NUM_CELLS[num_coordinates], with_tails=with_tails)


def _end_mass(integral: Integral, cells: PriorCells) -> Tensor:
    """The share of the mass in boxes at an open end of a range, `(N,)`."""
    boxes, total = integral.boxes, integral.log_total
    at_end = (boxes.low <= cells.low_end) | (boxes.low + boxes.width >= cells.high_end)
    ends = boxes[at_end.any(-1)]
    shares = (ends.log_mass - total[ends.datum]).exp()
    return torch.zeros_like(total).index_add(0, ends.datum, shares)


def _draw_nodes(cubature: Cubature, boxes: Boxes) -> Tensor:
    """Nodes drawn in proportion to their mass, `(D, N, Q)`."""
    drawn = boxes[_draw_boxes(boxes, cubature.num_data).T.flatten()]
    positions = torch.empty_like(drawn.low)
    for index, log_values in cubature.log_values(drawn):
        chosen = drawn[index]
        masses = chosen.log_node_masses(log_values).nan_to_num(-1e300, -1e300, -1e300)
        node = torch.multinomial(masses.softmax(-1), 1)
        positions[index] = chosen.nodes().take_along_dim(node[..., None], 1)[:, 0]
    return positions.unflatten(0, (cubature.num_data, -1)).transpose(0, 1)


def _draw_boxes(boxes: Boxes, num_data: int) -> Tensor:
    """Indices of boxes drawn in proportion to their mass, `(D, N)`."""
    count = torch.bincount(boxes.datum, minlength=num_data)
    first = count.cumsum(0) - count
    ranks = torch.arange(int(count.max()), device=count.device)[:, None]
    log_mass = boxes.log_mass[first + torch.minimum(ranks, count - 1)]
    impossible = (log_mass == -torch.inf).all(0)
    log_mass = torch.where(impossible, 0.0, log_mass)
    log_mass = torch.where(ranks < count, log_mass, -torch.inf)
    return first + resample_systematic(log_mass, _NUM_DRAWS)
