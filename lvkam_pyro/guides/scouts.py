"""A search for modes that a fitted density misses: the prior's draws that it explains least."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from pyro.distributions import Categorical, MixtureSameFamily, MultivariateStudentT
from torch import Tensor

from lvkam_pyro.ladder.target import GradientTarget
from lvkam_pyro.tracing.structure import Unit

MAX_COORDINATES = 20
"""Above it no draw of the prior comes near any mode."""

_MAX_DRAWS = 2**17
_DRAWS = 2
"""For each evaluation so far, which had a gradient."""

_MANY_VALUES = 128
"""Of a data set, whose posterior is then too narrow for draws of the prior to fall near it."""
_CHUNK = 2**12
_NUM_CANDIDATES = 32
_NUM_SCOUTS = 8
_SHARE = 0.2
_NUM_STEPS = 10
_LEAST_GAIN, _MOST_IDLE = 1e-3, 2
"""Nats of any scout, and steps in a row without them, at which all have arrived."""
_LONGEST_STEP = 5.0
"""In deviations of the local curvature."""
_LEAST_EXCESS = 2.0
"""Nats of a mode's weight above the usual one, at which the mixture is said to miss it."""
_WIDEST = 3.0
"""Times the mixture's own deviation."""
_DEVIATIONS = (1e-5, 1e2)
"""The least and the greatest of a component, in unconstrained units."""


Places = tuple[Tensor, Tensor, Tensor]
"""Positions `(S, U, D)`, with their log joint densities and log likelihoods, `(S, U)` each."""


def with_scouts(
    target: GradientTarget, mixture: MixtureSameFamily, visited: Sequence[Places]
) -> MixtureSameFamily:
    r"""The mixture, with components where it is least of what draws of the prior have shown.

    .. math:: q'(u) = (1 - b) \, q(u) + \frac{b}{K} \sum_k t_8(u; m_k, |H_k|^{-1})

    A population that goes from the prior to the posterior by powers of the likelihood follows mass:
    a mode that is narrow and high has little until the end, and nobody goes there any more. Yet
    particles on the way have been near it, or draws of the prior that fall there by themselves show
    it by their likelihood. Of all these K climb to a mode :math:`m_k`, where H is the curvature:
    half of them those of the largest :math:`p(x, u) / q(u)`, half those of the largest likelihood,
    by which alone the foot of a spike differs from the plateau beside it. As a proposal the mixture
    is as right as it was before; what the scouts find counts by its weight.

    Args:
        target: The program.
        mixture: Of batch shape `(U,)` and Student's t components, in float64.
        visited: Where particles have been, last of all at the posterior.

    Returns:
        The mixture, with a component for each scout that has found what it misses.

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> from lvkam_pyro.ladder.mixture_fit import fit_mixture
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z.abs(), 0.1), obs=x)
        >>> target, draws = GradientTarget(lv.bind(model, torch.ones(2))), 1 + torch.randn(64, 2, 1)
        >>> narrow = fit_mixture(0.1 * draws + 0.9, torch.zeros(64, 2), torch.arange(64) < 32)
        >>> both = with_scouts(target, narrow, [(draws, *torch.full((2, 64, 2), -100.0))])
        >>> both.log_prob(torch.full((1, 2, 1), -1.0).double()).min() > -3
        tensor(True)
    """
    if target.num_coordinates > MAX_COORDINATES:
        return mixture
    top = _climb(target, _most_missed(target, mixture, visited))
    loc, covariance = (
        top.position.double().transpose(0, 1),
        (top.root @ top.root.mT).transpose(0, 1),
    )
    scale_tril, info = torch.linalg.cholesky_ex(covariance)
    is_sound = (info == 0) & loc.isfinite().all(-1) & scale_tril.isfinite().all((-1, -2))
    # One on a plain wider than all that is known has found nothing.
    deviation = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    is_narrow = (deviation <= _WIDEST * mixture.variance.sqrt()[:, None]).all(-1)
    is_kept = is_sound & is_narrow & _is_missed(top, mixture, visited[-1]).T
    own, kernels = mixture.mixture_distribution.probs, mixture.component_distribution
    loc = torch.where(is_kept[..., None], loc, kernels.loc[:, :1])
    scale_tril = torch.where(is_kept[..., None, None], scale_tril, kernels.scale_tril[:, :1])
    added = is_kept.to(own) * (_SHARE / _NUM_SCOUTS)
    both = MultivariateStudentT(
        kernels.df[0, 0],
        torch.cat([kernels.loc, loc], 1),
        torch.cat([kernels.scale_tril, scale_tril], 1),
    )
    shares = torch.cat([(1 - added.sum(-1, keepdim=True)) * own, added], 1)
    return MixtureSameFamily(Categorical(shares), both)


def _is_missed(top: "_Look", mixture: MixtureSameFamily, arrived: Places) -> Tensor:
    """Which modes have a weight far above that of most of the population, `(K, U)`.

    Components where the mixture is right already would only make its tails lighter.
    """
    usual = (arrived[1] - mixture.log_prob(arrived[0].double())).nan_to_num(-torch.inf).median(0)
    weight = top.density - mixture.log_prob(top.position.double())
    return weight > usual.values + _LEAST_EXCESS


def _most_missed(
    target: GradientTarget, mixture: MixtureSameFamily, visited: Sequence[Places]
) -> Tensor:
    """The places that the mixture explains least, `(K, U, D)`."""
    found = [*visited, *(_likeliest(target) for _ in range(_num_chunks(target)))]
    position, log_joint, log_likelihood = (torch.cat(parts) for parts in zip(*found, strict=True))
    log_weight = log_joint - mixture.log_prob(position.double())
    tops = [_top(values, _NUM_SCOUTS // 2) for values in (log_weight, log_likelihood)]
    return position.take_along_dim(torch.cat(tops)[..., None], 0)


def _num_chunks(target: GradientTarget) -> int:
    """As many as the population has cost; one where they are made one by one, or in vain."""
    program = target.program
    is_large = program.unit is Unit.DATA_SET and program.values_per_unit > _MANY_VALUES
    if is_large or not program.stacks:
        return 1
    return -(-min(_MAX_DRAWS, _DRAWS * target.num_evaluations) // _CHUNK) or 1


def _top(values: Tensor, count: int) -> Tensor:
    """The indices of the largest finite values along the first axis."""
    return torch.where(values.isfinite(), values, -torch.inf).topk(count, dim=0).indices


def _likeliest(target: GradientTarget) -> Places:
    """Of some draws of the prior those of the highest likelihood."""
    position = target.draw_finite_prior(_CHUNK)
    log_prior, log_likelihood = target.log_densities(position)
    index = _top(log_likelihood, _NUM_CANDIDATES)
    log_joint = (log_prior + log_likelihood).gather(0, index)
    return position.take_along_dim(index[..., None], 0), log_joint, log_likelihood.gather(0, index)


class _Look(NamedTuple):
    """The density, slope and curvature of a climb at places.

    Attributes:
        position: `(K, U, D)`.
        density: The log of likelihood times a power of the prior, `(K, U)`.
        gradient: Its gradient, `(K, U, D)`.
        root: Of the inverse of its curvature's absolute value, `(K, U, D, D)`.
    """

    position: Tensor
    density: Tensor
    gradient: Tensor
    root: Tensor

    def where(self, mask: Tensor, other: "_Look") -> "_Look":
        """The other look where the mask `(K, U)` holds."""
        pairs = zip(self, other, strict=True)
        axes = mask.ndim
        return _Look(
            *(
                torch.where(mask.reshape(*mask.shape, *[1] * (m.ndim - axes)), o, m)
                for m, o in pairs
            )
        )


def _climb(target: GradientTarget, start: Tensor) -> _Look:
    """The places that scouts come to.

    They climb the likelihood first: beside a plateau it is all that says where to go.
    """
    higher = _ascend(target, start, prior_power=0.0).position
    log_joint = target.log_joint(torch.cat([start, higher])).unflatten(0, (2, -1))
    better = torch.where((log_joint[1] > log_joint[0])[..., None], higher, start)
    return _ascend(target, better, prior_power=1.0)


def _ascend(target: GradientTarget, position: Tensor, *, prior_power: float) -> _Look:
    """Newton's steps uphill, longer while they gain and shorter where they do not."""
    here = _look(target, position, prior_power)
    size, num_idle = torch.ones_like(here.density), 0
    for _ in range(_NUM_STEPS):
        step = size[..., None] * _newton(here.root, here.gradient)
        there = _look(target, here.position + step.to(position), prior_power)
        gains = (there.density > here.density) & there.density.isfinite()
        is_idle = not bool((gains & (there.density > here.density + _LEAST_GAIN)).any())
        num_idle = num_idle + 1 if is_idle else 0
        here = here.where(gains, there)
        if num_idle == _MOST_IDLE:
            break
        size = torch.where(gains, 2 * size, size / 4)
    return here


def _look(target: GradientTarget, position: Tensor, prior_power: float) -> _Look:
    """One run at places and on both sides of them along every axis, for the curvature.

    A saddle is left along its falling directions too, by the absolute value (Dauphin et al. 2014,
    https://arxiv.org/abs/1406.2572).
    """
    count = position.shape[-1]
    shift = torch.finfo(position.dtype).eps ** (1 / 3)
    axes = shift * torch.eye(count).to(position)[:, None, None]
    places = torch.cat([position[None], position + axes, position - axes])
    state = target.state_at(places.flatten(0, 1)[None])
    density = (prior_power * state.log_prior + state.log_likelihood)[0, : len(position)]
    gradient = (prior_power * state.prior_gradient + state.likelihood_gradient)[0].double()
    own, right, left = gradient.unflatten(0, (-1, len(position))).split([1, count, count])
    curvature = (right - left).movedim(0, -2).nan_to_num(0.0, 0.0, 0.0) / (2 * shift)
    values, vectors = torch.linalg.eigh((curvature + curvature.mT) / 2)
    root = vectors * values.abs().rsqrt().clamp(*_DEVIATIONS)[..., None, :]
    return _Look(position, density, own[0], root)


def _newton(root: Tensor, gradient: Tensor) -> Tensor:
    """The step to where a parabola has its top, `(K, U, D)`, no longer than is sensible."""
    white = root.mT @ gradient[..., None]
    length = white.norm(dim=-2, keepdim=True).clamp(min=_LONGEST_STEP)
    return (root @ (white * (_LONGEST_STEP / length)))[..., 0]
