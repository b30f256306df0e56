"""Densities that are fitted to draws of a posterior, for bridge sampling."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pyro.distributions as dist
import torch
from torch import Tensor

from lvkam_pyro.ladder.mixture_fit import fit_mixture
from lvkam_pyro.tracing.unconstrained import UnconstrainedProgram

_SHARES = (0.0, 0.01, 0.03, 0.1, 0.3, 0.6, 1.0)
"""Of the correlations that are taken away."""

_FLOOR = 1e-10
"""Of the variances, relative to their mean."""

_MAX_COORDINATES = 20
"""Above it a mixture's covariances need more draws than there are, and minutes."""


@dataclass(frozen=True)
class FittedProposal:
    """A density beside the posterior of each unit, and the mirror that both are seen in.

    Attributes:
        density: Of batch shape `(U,)` and event shape `(Q,)`, in float64.
        centre: The point `(U, Q)` about which posterior and density are made symmetric; None: they
            are left as they are.

    Example:
        >>> fitted = NormalProposal().fit(torch.randn(100, 3, 2))
        >>> fitted.density.batch_shape, fitted.density.event_shape
        (torch.Size([3]), torch.Size([2]))
    """

    density: dist.TorchDistribution
    centre: Tensor | None = None

    def log_ratio(self, target: UnconstrainedProgram, position: Tensor) -> Tensor:
        """Log of posterior (not normalised) over proposal at positions `(S, U, Q)`, `(S, U)`."""
        images = [position]
        if self.centre is not None:
            images.append((2 * self.centre - position.double()).to(position))
        log_joint = torch.stack([target.log_joint(image) for image in images])
        log_joint = torch.where(log_joint.isnan(), -torch.inf, log_joint)
        log_prob = torch.stack([self.density.log_prob(image.double()) for image in images])
        return log_joint.logsumexp(0) - log_prob.logsumexp(0)


class Proposal(ABC):
    """A kind of density that `Bridge` puts beside the posterior.

    Implementing one: define `fit(position) -> FittedProposal`.

    Example:
        >>> import lvkam_pyro as lv
        >>> isinstance(lv.evidence.WarpProposal(), Proposal)
        True
    """

    @abstractmethod
    def fit(self, position: Tensor) -> FittedProposal:
        """The density that fits unconstrained posterior draws `(D, U, Q)` of each unit."""


@dataclass(frozen=True)
class NormalProposal(Proposal):
    r"""A normal with mean and covariance of the draws, in unconstrained coordinates.

    .. math:: q(u) = N\big(u; \bar u, (1 - a) S + a \operatorname{diag} S\big)

    with the share a of each unit by which each half of the draws predicts the other best: few draws
    say little about the correlations of many coordinates.

    Example:
        >>> draws = 3.0 + torch.randn(1000, 1, 2)
        >>> NormalProposal().fit(draws).density.mean.round()
        tensor([[3., 3.]], dtype=torch.float64)
    """

    def fit(self, position: Tensor) -> FittedProposal:
        """The normal of each unit's draws."""
        position, middle = position.double(), len(position) // 2
        halves = position[:middle], position[middle:]
        shares = torch.tensor(_SHARES).to(position)
        scores = [
            sum(_normal(fitted, share).log_prob(other).mean(0) for fitted, other in swapped(halves))
            for share in shares
        ]
        best = torch.stack(scores).argmax(0)
        return FittedProposal(_normal(position, shares[best][:, None]))


def _normal(position: Tensor, share: Tensor) -> dist.MultivariateNormal:
    """The normal with the moments of draws, a share of the correlations taken away."""
    mean = position.mean(0)
    centred = position - mean
    covariance = torch.einsum("sui,suj->uij", centred, centred) / (len(position) - 1)
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    floor = _FLOOR * (variance + variance.mean(-1, keepdim=True) + _FLOOR * (1 + mean.square()))
    kept = (1 - share)[..., None] * covariance
    factor = torch.linalg.cholesky(kept + torch.diag_embed(share * variance + floor))
    return dist.MultivariateNormal(mean, scale_tril=factor)


@dataclass(frozen=True)
class MixtureProposal(Proposal):
    r"""A mixture of Student's t distributions, for posteriors of several modes or bent ones.

    .. math:: q(u) = \sum_{m=1}^{M} \pi_m \, t_8(u; \mu_m, \Sigma_m)

    with the number of components, 1 to 16, by which each half of the draws predicts the other best
    (see `fit_mixture`). Of more than 20 coordinates it is a `NormalProposal`: some hundred draws
    say too little about several covariances.

    Example:
        >>> draws = torch.randn(1000, 1, 2) + 40.0 * torch.arange(1000)[:, None, None].remainder(2)
        >>> MixtureProposal().fit(draws).density.log_prob(torch.tensor([20.0, 20.0])) < -20
        tensor([True])
    """

    def fit(self, position: Tensor) -> FittedProposal:
        """The mixture of each unit's draws."""
        if position.shape[-1] > _MAX_COORDINATES:
            return NormalProposal().fit(position)
        is_first = torch.arange(len(position), device=position.device) < len(position) // 2
        log_weights = torch.zeros_like(position[..., 0])
        return FittedProposal(fit_mixture(position, log_weights, is_first))


@dataclass(frozen=True)
class WarpProposal(Proposal):
    r"""A proposal and the posterior, both averaged with their mirror images: warp-3.

    .. math:: \tilde p(u) = \tfrac12 \big(p(u) + p(2 \bar u - u)\big)

    which has the evidence of p, no skewness about the draws' mean, and so more in common with the
    proposal, for twice the evaluations (Meng and Schilling 2002,
    https://doi.org/10.1198/106186002457).

    Args:
        base: What is fitted to the draws.

    Example:
        >>> WarpProposal().fit(torch.randn(100, 1, 2)).centre.shape
        torch.Size([1, 2])
    """

    base: Proposal = field(default_factory=NormalProposal)

    def fit(self, position: Tensor) -> FittedProposal:
        """The base's density, mirrored about the mean of the draws."""
        return replace(self.base.fit(position), centre=position.double().mean(0))


def swapped(halves: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The two halves in both orders: fitted to, held out.

    Example:
        >>> [(len(fitted), len(held)) for fitted, held in swapped([torch.zeros(3), torch.ones(4)])]
        [(3, 4), (4, 3)]
    """
    first, second = halves
    return [(first, second), (second, first)]
