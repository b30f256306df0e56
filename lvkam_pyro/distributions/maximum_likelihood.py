"""Maximum likelihood of densities with energies linear in their coefficients: Newton's method."""

from dataclasses import dataclass

import torch
from torch import Tensor

_RIDGE = 1e-10
"""Relative weight of a ridge on the step, for directions that leave the densities as they are."""

_SUFFICIENT = 1e-4
_NUM_HALVINGS = 30


@dataclass(frozen=True)
class LinearFamily:
    r"""The exponential family of one-dimensional densities with given features, by quadrature.

    .. math:: p(z; c) = \frac{1}{Z(c)} \, e^{\sum_k c_k \phi_k(z)} \, \pi_0(z), \qquad
              \nabla \log Z = \mathbb{E}[\phi], \quad \nabla^2 \log Z = \operatorname{Cov}[\phi]

    All arithmetic is in float64; leading dimensions are batches and broadcast.

    Attributes:
        features: :math:`\phi` at the quadrature nodes, of shape `(*batch, G, K)`.
        log_masses: :math:`\log \pi_0` at the nodes plus the log weights of the rule,
            of shape `(*batch, G)`.

    Example:
        >>> nodes = torch.linspace(-9, 9, 2000, dtype=torch.float64)
        >>> normal = LinearFamily(nodes[:, None], -0.5 * nodes.square())
        >>> normal.mean(torch.tensor([1.5], dtype=torch.float64))  # a tilt shifts a normal
        tensor([1.5000], dtype=torch.float64)
    """

    features: Tensor
    log_masses: Tensor

    def log_normalizer(self, coefficients: Tensor) -> Tensor:
        r""":math:`\log Z`, of shape `(*batch)`, for coefficients `(*batch, K)`."""
        return self._log_joint(coefficients).logsumexp(-1)

    def mean(self, coefficients: Tensor) -> Tensor:
        """Expectations of the features, of shape `(*batch, K)`."""
        return _weighted_sum(self._log_joint(coefficients).softmax(-1), self.features)

    def covariance(self, coefficients: Tensor) -> Tensor:
        """Covariances of the features, of shape `(*batch, K, K)`."""
        probabilities = self._log_joint(coefficients).softmax(-1).unsqueeze(-1)
        mean = (probabilities * self.features).sum(-2, keepdim=True)
        centred = self.features - mean
        return centred.mT @ (probabilities * centred)

    def _log_joint(self, coefficients: Tensor) -> Tensor:
        return (self.features @ coefficients.unsqueeze(-1)).squeeze(-1) + self.log_masses


@dataclass(frozen=True)
class Maximum:
    r"""Where Newton's method has arrived.

    Attributes:
        coefficients: The coefficients, of shape `(*batch, K)`, float64.
        objective: Penalised log likelihood per datum there, in nats, of shape `(*batch)`.
        missing: Half the squared Newton decrement, an estimate of what the objective lacks to its
            maximum, in nats per datum, of shape `(*batch)`.
        num_steps: Number of steps taken.
    """

    coefficients: Tensor
    objective: Tensor
    missing: Tensor
    num_steps: int


def maximize_likelihood(
    family: LinearFamily,
    mean: Tensor,
    start: Tensor,
    *,
    penalty: Tensor | None = None,
    max_steps: int = 50,
    tolerance: float = 1e-12,
) -> Maximum:
    r"""Maximises :math:`c \cdot \bar\phi - \log Z(c) - \tfrac12 c^T P c`, a concave function.

    Newton's method with gradient :math:`\bar\phi - \mathbb{E}[\phi] - P c` and Hessian
    :math:`-\operatorname{Cov}[\phi] - P`, each step halved until it rises (Boyd and Vandenberghe
    2004, "Convex Optimization", algorithm 9.5), so the objective never falls. Directions that
    change no density, such as a constant added to a spline, have no gradient and are not moved
    along: a relative ridge keeps the Hessian regular there. Where the data leave a feature out,
    the maximum lies at minus infinity; the steps end once less than the tolerance is missing.

    Arguments:
        family: The family, with features `(*batch, G, K)`.
        mean: The data's mean features :math:`\bar\phi`, of shape `(*batch, K)`.
        start: Coefficients to start from, of shape `(*batch, K)`.
        penalty: The positive semidefinite matrix `P`, `(*batch, K, K)`; none by default.
        max_steps: Largest number of steps.
        tolerance: The search ends where less than this is missing, in nats per datum.

    Returns:
        The maximum, without gradients.

    Example:
        >>> nodes = torch.linspace(-9, 9, 2000, dtype=torch.float64)
        >>> features = torch.stack([nodes, nodes.square()], -1)
        >>> family = LinearFamily(features, torch.zeros_like(nodes))
        >>> moments = torch.tensor([0.5, 0.5], dtype=torch.float64)  # mean 1/2, variance 1/4
        >>> start = torch.tensor([0.0, -0.5], dtype=torch.float64)
        >>> maximize_likelihood(family, moments, start).coefficients
        tensor([ 2.0000, -2.0000], dtype=torch.float64)
    """
    coefficients = start.detach().double().expand_as(mean)
    penalty = torch.zeros_like(mean).diag_embed() if penalty is None else penalty
    with torch.no_grad():
        for num_steps in range(max_steps + 1):
            gradient = mean - family.mean(coefficients) - _product(penalty, coefficients)
            step = _solve(family.covariance(coefficients), penalty, gradient)
            decrement = (gradient * step).sum(-1)
            moving = decrement > 2 * tolerance
            if num_steps == max_steps or not moving.any():
                break
            step = step * moving.unsqueeze(-1)
            coefficients = _climb(family, mean, penalty, coefficients, step, decrement * moving)
        objective = _objective(family, mean, penalty, coefficients)
    return Maximum(coefficients, objective, 0.5 * decrement, num_steps)


def _objective(family: LinearFamily, mean: Tensor, penalty: Tensor, coefficients: Tensor) -> Tensor:
    linear = (coefficients * (mean - 0.5 * _product(penalty, coefficients))).sum(-1)
    return linear - family.log_normalizer(coefficients)


def _solve(covariance: Tensor, penalty: Tensor, gradient: Tensor) -> Tensor:
    curvature = covariance + penalty
    # Relative to what the data see; more only against the rounding of a large penalty.
    ridge = _RIDGE * _scale(covariance) + 64 * torch.finfo(curvature.dtype).eps * _scale(curvature)
    # A family of a single density has no curvature at all.
    ridge = ridge.clamp(min=torch.finfo(ridge.dtype).tiny) * torch.ones_like(gradient)
    factor, _ = torch.linalg.cholesky_ex(curvature + ridge.diag_embed())
    return torch.cholesky_solve(gradient.unsqueeze(-1), factor).squeeze(-1)


def _scale(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)


def _climb(
    family: LinearFamily,
    mean: Tensor,
    penalty: Tensor,
    coefficients: Tensor,
    step: Tensor,
    decrement: Tensor,
) -> Tensor:
    """The step of each batch entry, halved until it rises as it should; else none."""
    before = _objective(family, mean, penalty, coefficients)
    # What rounding alone may take from the objective.
    before = before - 8 * torch.finfo(before.dtype).eps * (1 + before.abs())
    size = torch.ones_like(decrement)
    for _ in range(_NUM_HALVINGS):
        after = _objective(family, mean, penalty, coefficients + size.unsqueeze(-1) * step)
        enough = after >= before + _SUFFICIENT * size * decrement
        if enough.all():
            break
        size = torch.where(enough, size, 0.5 * size)
    size = torch.where(enough, size, torch.zeros_like(size))
    return coefficients + size.unsqueeze(-1) * step


def _product(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    return (weights.unsqueeze(-2) @ values).squeeze(-2)


def difference_penalty(num_functions: int, order: int, *, like: Tensor) -> Tensor:
    r"""The matrix :math:`D^T D` of squared differences of neighbouring coefficients.

    .. math:: c^T D^T D c = \sum_k (\Delta^m c)_k^2

    (Eilers and Marx 1996, "Flexible smoothing with B-splines and penalties", equation 5,
    https://doi.org/10.1214/ss/1038425655.) Polynomials below degree `m` are free: with `m = 3` a
    log density becomes a parabola, hence the density a normal, as the penalty grows (Silverman
    1982, https://doi.org/10.1214/aos/1176345872).

    Arguments:
        num_functions: Number of B-splines `K` on equal cells.
        order: Order of the differences `m`, below `K`.
        like: A tensor of the device and dtype wanted.

    Returns:
        A matrix of shape `(K, K)` and rank `K - m`.

    Example:
        >>> difference_penalty(3, 2, like=torch.zeros(()))
        tensor([[ 1., -2.,  1.],
                [-2.,  4., -2.],
                [ 1., -2.,  1.]])
    """
    differences = torch.eye(num_functions, dtype=like.dtype, device=like.device)
    differences = differences.diff(n=order, dim=0)
    return differences.T @ differences
