"""Mixtures fitted to weighted draws, one for each datum."""

import math

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from lvkam_pyro.statistics.weights import effective_sample_size, normalized_weights

_COUNTS = (1, 2, 4, 8, 16)
"""Numbers of components that are tried: a cell is cut in two along its longest axis."""

_TOLERANCE = 0.02
"""Nats by which more components must predict both halves better together."""

_NUM_STEPS = 30
_NUM_DEGREES = 8.0
"""Degrees of freedom of the fitted kernels: tails heavier than those of most posteriors."""

_FLOOR = 1e-10
_MAX_ELEMENTS = 2**23


def fit_mixture(points: Tensor, log_weights: Tensor, is_first: Tensor) -> dist.MixtureSameFamily:
    r"""A mixture of Student's t distributions for the weighted draws of each datum.

    .. math:: q_n(u) = \sum_{m=1}^{M_n} \pi_{nm} \, t_8(u; \mu_{nm}, \Sigma_{nm})

    Places, shapes and shares are those of a mixture of normals by expectation maximisation
    (Dempster, Laird and Rubin 1977, https://doi.org/10.1111/j.2517-6161.1977.tb01600.x) from a
    start that cuts the draws along their principal axes, with covariances shrunk towards
    their mean by D + 2 draws' worth. The number of components, up to 16, is each datum's own: the
    fewest that predict each half of the draws from the other as well as any, to 0.01 nats.

    Args:
        points: `(S, N, D)`.
        log_weights: `(S, N)`.
        is_first: Which draws are the first half, `(S,)`. Copies of a draw must not be in both.

    Returns:
        The mixture, of batch shape `(N,)` and event shape `(D,)`, in float64.

    Example:
        >>> points = torch.randn(256, 3, 2) + 5.0
        >>> mixture = fit_mixture(points, torch.zeros(256, 3), torch.arange(256) < 128)
        >>> mixture.batch_shape, mixture.event_shape
        (torch.Size([3]), torch.Size([2]))
    """
    points, weights = points.double(), normalized_weights(log_weights.double())
    rows = max(1, _MAX_ELEMENTS // (points[:, 0].numel() * _COUNTS[-1]))
    blocks = zip(points.split(rows, 1), weights.split(rows, 1), strict=True)
    parts = [_fit_best(*block, is_first) for block in blocks]
    shares, loc, scale_tril = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    most = int((shares > 0).any(0).sum())
    kernels = dist.MultivariateStudentT(_NUM_DEGREES, loc[:, :most], scale_tril[:, :most])
    return dist.MixtureSameFamily(dist.Categorical(shares[:, :most]), kernels)


Parameters = tuple[Tensor, Tensor, Tensor]
"""Shares `(N, M)`, means `(N, M, D)` and Cholesky factors `(N, M, D, D)`."""


def _fit_best(points: Tensor, weights: Tensor, is_first: Tensor) -> Parameters:
    """The fit with the number of components that each datum is predicted by best."""
    # A component's shape takes as many draws as it has axes, of each half.
    most = len(points) / (2 * (points.shape[-1] + 2))
    counts = [count for count in _COUNTS if count <= max(1.0, most)]
    scores = torch.stack([_score(points, weights, is_first, count) for count in counts])
    best = (scores >= scores.amax(0) - _TOLERANCE).int().argmax(0)
    num_data, num_coordinates = points.shape[1:]
    shares = points.new_zeros(num_data, _COUNTS[-1])
    loc = points.new_zeros(num_data, _COUNTS[-1], num_coordinates)
    scale_tril = torch.eye(num_coordinates).to(points).repeat(num_data, _COUNTS[-1], 1, 1)
    for index in best.unique().tolist():
        chosen, count = best == index, _COUNTS[index]
        fitted = _fit(points[:, chosen], weights[:, chosen], count)
        for whole, part in zip((shares, loc, scale_tril), fitted, strict=True):
            whole[chosen, :count] = part
    return shares, loc, scale_tril


def _score(points: Tensor, weights: Tensor, is_first: Tensor, count: int) -> Tensor:
    """The mean log density of each half under the fit to the other, summed, `(N,)`."""
    score = torch.zeros_like(weights[0])
    for train, test in ((is_first, ~is_first), (~is_first, is_first)):
        fitted = _fit(points[train], weights[train], count)
        log_prob = _log_joint(points[test], fitted).logsumexp(-1)
        score = score + (weights[test] * log_prob).sum(0)
    return score


def _fit(points: Tensor, weights: Tensor, count: int) -> Parameters:
    """Expectation maximisation with a fixed number of components."""
    weights = weights / weights.sum(0).clamp_min(torch.finfo(weights.dtype).tiny)
    strength = (points.shape[-1] + 2) / effective_sample_size(weights.log())
    share = _bisect(points, weights, count)
    for _ in range(_NUM_STEPS):
        parameters = _maximize(points, weights[..., None] * share, strength)
        share = _log_joint(points, parameters).softmax(-1)
    return parameters


def _maximize(points: Tensor, mass: Tensor, strength: Tensor) -> Parameters:
    """The parameters that fit draws of given mass `(S, N, M)` in each component best."""
    loc, covariance = _moments(points, mass)
    total, strength = mass.sum(0), strength[:, None]
    common = _common_covariance(covariance, total, strength, points)
    weight = (total / (total + strength))[..., None, None]
    covariance = weight * covariance + (1 - weight) * common[:, None]
    shares = total + strength / total.shape[-1]
    return shares / shares.sum(-1, keepdim=True), loc, torch.linalg.cholesky(covariance)


def _common_covariance(
    covariance: Tensor, total: Tensor, strength: Tensor, points: Tensor
) -> Tensor:
    """The covariance of a component without draws, `(N, D, D)`: the mean, a little diagonal."""
    mean = torch.einsum("nm,nmij->nij", total, covariance)
    diagonal = torch.diag_embed(mean.diagonal(dim1=-2, dim2=-1))
    floor = _FLOOR * (1 + points.square().mean((0, 2)))[:, None, None]
    weight = (strength / (1 + strength))[..., None]
    return (1 - weight) * mean + weight * diagonal + floor * torch.eye(len(mean[0])).to(points)


def _moments(points: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `(N, M, D)` and covariance `(N, M, D, D)` under given mass `(S, N, M)`."""
    mass = mass / mass.sum(0).clamp_min(torch.finfo(mass.dtype).tiny)
    loc = torch.einsum("snm,snd->nmd", mass, points)
    deviation = mass.sqrt()[..., None] * (points[:, :, None] - loc)
    return loc, torch.einsum("snmi,snmj->nmij", deviation, deviation)


def _log_joint(points: Tensor, parameters: Parameters) -> Tensor:
    """The log of each normal component's share times its density, `(S, N, M)`."""
    shares, loc, scale_tril = parameters
    deviation = (points[:, :, None] - loc).permute(1, 2, 3, 0)
    white = torch.linalg.solve_triangular(scale_tril, deviation, upper=False)
    log_det = scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    constant = shares.log() - log_det - points.shape[-1] / 2 * math.log(2 * math.pi)
    return constant - white.square().sum(-2).permute(2, 0, 1) / 2


def _bisect(points: Tensor, weights: Tensor, count: int) -> Tensor:
    """Cut the draws in two along their longest axis, again and again: `(S, N, M)` of 0 and 1."""
    cell = torch.zeros_like(weights, dtype=torch.long)
    num_cells = 1
    while num_cells < count:
        inside = one_hot(cell, num_cells).to(points)
        loc, covariance = _moments(points, weights[..., None] * inside)
        axis = torch.linalg.eigh(covariance)[1][..., -1]
        score = torch.einsum("snmd,nmd->snm", points[:, :, None] - loc, axis)
        cell = 2 * cell + (score.take_along_dim(cell[..., None], -1)[..., 0] > 0).long()
        num_cells *= 2
    return one_hot(cell, num_cells).to(points)
