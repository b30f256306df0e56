"""Densities of samples: penalised maximum likelihood of a log-spline, smoothed by evidence."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Size, Tensor
from torch.distributions import Distribution, Normal, Uniform

from lvkam_pyro.distributions.energy import build_panels
from lvkam_pyro.distributions.logspline import LogSpline
from lvkam_pyro.distributions.maximum_likelihood import (
    LinearFamily,
    difference_penalty,
    maximize_likelihood,
)
from lvkam_pyro.distributions.reference import as_measure, support_bounds
from lvkam_pyro.kan.bases.bspline import BSplineBasis

_ORDER = 3
"""Of the differences that are penalised: parabolas, the logarithms of normals, are free."""

_SMOOTHNESS = torch.logspace(-4, 6, 21, dtype=torch.float64)
"""Factors to choose from, a factor of 3.2 apart."""

_TOLERANCE = 1e-9
"""What a fit may miss, in nats per sample."""

_NUM_COLUMNS = 8
_NUM_SAMPLES = 2**16
"""Columns and samples whose tables are held at once."""

_MARGIN = 0.1
"""What the splines reach beyond the samples, as a part of their range."""

_FEWEST = 5
_LEAST_VARIATION = 1e-10


@dataclass(frozen=True)
class DensityFit:
    r"""A density fitted to samples, and how.

    Attributes:
        density: The density, of the samples' batch and dtype: an ordinary Pyro distribution.
        smoothness: The factor :math:`\lambda` of the penalty, of the shape of the batch.
        log_likelihood: Mean log density of the samples, in nats, of the shape of the batch.
        log_evidence: Laplace's approximation of the logarithm of the marginal likelihood that
            chose the smoothness, in nats, up to what does not depend on it.
        degrees_of_freedom: Effective number of parameters,
            :math:`\operatorname{tr}[(N C + \lambda R)^{-1} N C]`: 2 for a normal.

    Example:
        >>> fit_density(torch.randn(400)).degrees_of_freedom < 6
        tensor(True)
    """

    density: LogSpline
    smoothness: Tensor
    log_likelihood: Tensor
    log_evidence: Tensor
    degrees_of_freedom: Tensor


def fit_density(
    samples: Tensor | ArrayLike,
    *,
    domain: tuple[float, float] | None = None,
    reference: Distribution | None = None,
    grid_size: int = 30,
    smoothness: float | None = None,
    weights: Tensor | ArrayLike | None = None,
) -> DensityFit:
    r"""Fits a log-spline density to samples by penalised maximum likelihood.

    .. math:: p(z) = \frac{1}{Z} \, e^{\sum_k c_k \phi_k(z)} \, \pi_0(z), \qquad
              \hat c = \arg\max_c \sum_n \log p(z_n; c) - \frac{\lambda}{2} \sum_k (\Delta^3 c)_k^2

    Log-splines are Kooperberg and Stone's (1991, "A study of logspline density estimation",
    https://doi.org/10.1016/0167-9473(91)90115-I; Stone, Hansen, Kooperberg and Truong 1997,
    https://doi.org/10.1214/aos/1031594728), the penalty Eilers' and Marx' (1996,
    https://doi.org/10.1214/ss/1038425655) of an order that leaves normals free, as Silverman's
    (1982, https://doi.org/10.1214/aos/1176345872). The penalty is a Gaussian prior on `c`; its
    strength :math:`\lambda` maximises Laplace's approximation of the marginal likelihood

    .. math:: \log p(z_{1..N} \mid \lambda) \approx \sum_n \log p(z_n; \hat c)
              - \tfrac{\lambda}{2} \hat c^T R \hat c + \tfrac{K - 3}{2} \log \lambda
              - \tfrac12 \log \left| N \operatorname{Cov}[\phi] + \lambda R \right|.

    All smoothnesses and all columns are fitted at once, by Newton's method.

    Arguments:
        samples: Samples of shape `(N, *batch)`, at least 5. The columns of a batch share domain
            and reference; fit columns in different units one by one.
        domain: Ends of the support. Default: the whole real line, or the reference's support.
        reference: One univariate torch distribution :math:`\pi_0`, which has the tails beyond the
            samples. Default: uniform on the domain, if one is given; else a normal with the mean
            and standard deviation of the samples.
        grid_size: Number of cells of the splines; more than enough, as the penalty smooths them.
        smoothness: The factor :math:`\lambda`, in nats. Default: chosen as above.
        weights: Weights of the samples, of shape `(N,)`, up to a factor: they count as many
            samples as their effective number :math:`(\sum w)^2 / \sum w^2`.

    Returns:
        The density and how it was fitted, of the samples' floating dtype.

    Raises:
        ValueError: If there are too few samples, a sample is not finite or lies outside the
            domain, a column is constant, or another argument is out of range.

    Example:
        >>> fit = fit_density(torch.distributions.Beta(2.0, 3.0).sample((1000,)), domain=(0, 1))
        >>> abs(fit.density.mean - 0.4) < 0.02
        tensor(True)
        >>> fit.density.sample((3,)).shape
        torch.Size([3])
    """
    z, shape, dtype = _as_columns(samples)
    shares, count = _shares(weights, z)
    ends, reference = _place(z, domain, reference)
    basis = BSplineBasis(grid_size=grid_size, domain=ends).double().to(z.device)
    panels = build_panels(basis.breakpoints, reference)
    nodes = panels.nodes.flatten()
    log_masses = panels.log_weights.flatten() + reference.log_prob(nodes)
    family = LinearFamily(basis(nodes), log_masses)
    candidates = _candidates(smoothness).to(z)
    columns = _mean_features(basis, z, shares).split(_NUM_COLUMNS)
    chosen = _Chosen(
        *map(torch.cat, zip(*(_choose(family, m, count, candidates) for m in columns), strict=True))
    )
    table = basis.to_polynomials(chosen.coefficients)
    log_prob = LogSpline(table, panels, reference).log_prob(z)
    return DensityFit(
        LogSpline(
            table.to(dtype).view(*shape, *table.shape[1:]), basis.breakpoints.to(dtype), reference
        ),
        chosen.smoothness.to(dtype).view(shape),
        (shares @ log_prob).to(dtype).view(shape),
        chosen.log_evidence.to(dtype).view(shape),
        chosen.degrees_of_freedom.to(dtype).view(shape),
    )


def _mean_features(basis: BSplineBasis, z: Tensor, shares: Tensor) -> Tensor:
    """Weighted means of the basis functions at samples `(N, C)`, of shape `(C, K)`."""
    parts = zip(z.split(_NUM_SAMPLES), shares.split(_NUM_SAMPLES), strict=True)
    sums = [torch.einsum("n,nck->ck", share, basis(part)) for part, share in parts]
    return torch.stack(sums).sum(0)


class _Chosen(NamedTuple):
    """What was found for each column, of shape `(C, ...)`."""

    coefficients: Tensor
    smoothness: Tensor
    log_evidence: Tensor
    degrees_of_freedom: Tensor


def _choose(family: LinearFamily, mean: Tensor, count: Tensor, smoothness: Tensor) -> _Chosen:
    """The most probable of the smoothnesses, by column."""
    roughness = difference_penalty(mean.shape[-1], _ORDER, like=mean)
    penalty = smoothness[:, None, None, None] * roughness
    means = mean.expand(len(smoothness), *mean.shape)
    maximum = maximize_likelihood(
        family, means, torch.zeros_like(means), penalty=penalty / count, tolerance=_TOLERANCE
    )
    coefficients = maximum.coefficients
    information = count * family.covariance(coefficients)
    # Constants are neither penalised nor seen: they get a curvature of their own, the same for all.
    curvature = information + penalty + count / mean.shape[-1]
    rank = mean.shape[-1] - _ORDER
    log_evidence = count * maximum.objective + 0.5 * rank * smoothness.log().unsqueeze(-1)
    log_evidence = log_evidence - 0.5 * torch.linalg.slogdet(curvature).logabsdet
    freedom = torch.linalg.solve(curvature, information).diagonal(dim1=-2, dim2=-1).sum(-1)
    best = log_evidence.argmax(0)
    column = torch.arange(len(mean), device=mean.device)
    return _Chosen(
        coefficients[best, column],
        smoothness[best],
        log_evidence[best, column],
        freedom[best, column],
    )


def _candidates(smoothness: float | None) -> Tensor:
    if smoothness is None:
        return _SMOOTHNESS
    if not 0 < smoothness < math.inf:
        raise ValueError(
            f"Expected a smoothness above 0, in nats, got {smoothness}. Leave it out to have it "
            "chosen by the marginal likelihood."
        )
    return torch.tensor([smoothness], dtype=torch.float64)


def _as_columns(samples: Tensor | ArrayLike) -> tuple[Tensor, Size, torch.dtype]:
    """The samples as `(N, C)` in float64, their batch shape and their dtype."""
    z = torch.as_tensor(samples).detach()
    dtype = z.dtype if z.dtype in (torch.float32, torch.float64) else torch.get_default_dtype()
    if z.ndim < 1 or len(z) < _FEWEST or not z.numel():
        raise ValueError(
            f"Expected at least {_FEWEST} samples, of shape (N, *batch), got shape "
            f"{tuple(z.shape)}."
        )
    columns = z.double().flatten(1) if z.ndim > 1 else z.double().unsqueeze(-1)
    if not columns.isfinite().all():
        raise ValueError(
            f"Expected finite samples, got {int((~columns.isfinite()).sum())} of "
            f"{columns.numel()} that are NaN or infinite. Drop them first."
        )
    spread = columns.amax(0) - columns.amin(0)
    constant = spread <= _LEAST_VARIATION * columns.abs().amax(0)
    if constant.any():
        raise ValueError(
            f"Expected samples that vary, got {int(constant.sum())} of {len(constant)} columns "
            f"that are constant, the first at {columns[0][constant][0]:.6g}: they have no density."
        )
    return columns, z.shape[1:], dtype


def _shares(weights: Tensor | ArrayLike | None, z: Tensor) -> tuple[Tensor, Tensor]:
    """Weights `(N,)` that sum to one, and the number of samples that they are worth."""
    num_samples = len(z)
    w = torch.ones_like(z[:, 0]) if weights is None else torch.as_tensor(weights).detach().to(z)
    if w.shape != (num_samples,) or not (w.isfinite() & (w >= 0)).all() or not w.any():
        raise ValueError(
            f"Expected {num_samples} finite weights that are not negative, one for each sample and "
            f"one at least positive, got shape {tuple(w.shape)} and values from "
            f"{w.min():.4g} to {w.max():.4g}."
        )
    w = w / w.sum()
    return w, 1 / w.square().sum()


def _place(
    z: Tensor, domain: tuple[float, float] | None, reference: Distribution | None
) -> tuple[tuple[float, float], Distribution]:
    """The ends of the splines, and the reference measure."""
    if reference is None and domain is not None:
        reference = Uniform(float(domain[0]), float(domain[1]), validate_args=False)
    if reference is None:
        reference = Normal(z.mean().item(), z.std().item())
    support = support_bounds(reference)
    if domain is None:
        domain = support
    low, high = float(z.min()), float(z.max())
    if low < domain[0] or high > domain[1]:
        raise ValueError(
            f"Expected samples inside the domain [{domain[0]:g}, {domain[1]:g}], got samples "
            f"from {low:g} to {high:g}. Widen the domain, or leave it out for the real line."
        )
    margin = _MARGIN * (high - low)
    ends = (low - margin, high + margin)
    lowest, highest = (d if math.isfinite(d) else e for d, e in zip(domain, ends, strict=True))
    return (lowest, highest), as_measure(reference, z.device)
