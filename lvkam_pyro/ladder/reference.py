"""A way from a density that is near the posterior to it, in place of that from the prior."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from lvkam_pyro.ladder.mixture_fit import fit_mixture
from lvkam_pyro.ladder.state import GradientState
from lvkam_pyro.ladder.target import GradientTarget
from lvkam_pyro.statistics.jackknife import log_mean_exp
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.prior_guide import LibraryGuide
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.sites import is_delta

PRIOR_SHARE = 0.05
"""Of the draws: it bounds the weights, and shows where the prior is the better start."""

_NUM_FITTED = 1024
_NUM_PROBED = 256
_FIRST_TEMPERATURE = 0.1


class Density(Protocol):
    """A density over unconstrained latents, for each unit its own."""

    def sample(self, sample_shape: Sequence[int]) -> Tensor:
        """Independent draws `(S, U, D)`."""

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density at `(S, U, D)`, `(S, U)`."""


class GuideDensity:
    """The density of a Pyro guide over unconstrained latents.

    Args:
        target: The program, seen with the guide.
        guide: Draws the continuous latents, and nothing else.

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.LogNormal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.LogNormal(0.0, 2.0))
        >>> density = GuideDensity(GradientTarget(lv.bind(model, torch.zeros(3))), guide)
        >>> density.log_prob(torch.zeros(1, 3, 1))  # log N(0; 0, 4)
        tensor([[-1.6121, -1.6121, -1.6121]])
    """

    def __init__(self, target: GradientTarget, guide: Program) -> None:
        self.target = target
        self.guide = guide
        self._dtype = target.draw_prior(1).dtype

    def sample(self, sample_shape: Sequence[int]) -> Tensor:
        """The guide's draws `(S, U, D)`."""
        drawn = self.target.program.propose(self.guide, *sample_shape)
        return self.target.positions(drawn, check_support=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Its log density at `(S, U, D)`, `(S, U)`."""
        return self.target.guide_log_density(self.guide, value.to(self._dtype))


@dataclass(frozen=True)
class DefensiveDensity:
    r"""A density over unconstrained latents, with a share of the prior.

    .. math:: q(u) = (1 - a) \, m(u) + a \, p(u)

    The share bounds every weight by :math:`\max_u p(x | u) / a` (Hesterberg 1995,
    https://doi.org/10.1080/00401706.1995.10484303).

    Attributes:
        density: m, which draws `(S, U, D)` and has log densities `(S, U)`.
        prior_share: a, `(U,)` in float64, above 0; 1 where the prior alone is meant.
        drift: How much the population that it was fitted to still moved, in standard errors,
            `(U,)`; None if it was fitted to none.

    Example:
        >>> from lvkam_pyro.ladder.mixture_fit import fit_mixture
        >>> draws = torch.randn(64, 2, 3)
        >>> mixture = fit_mixture(draws, torch.zeros(64, 2), torch.arange(64) < 32)
        >>> reference = DefensiveDensity(mixture, torch.tensor([0.05, 1.0]))
        >>> reference.draw(5, lambda count: torch.zeros(count, 2, 3))[:, 1].any()
        tensor(False)
    """

    density: Density
    prior_share: Tensor
    drift: Tensor | None = None

    def draw(self, num_draws: int, draw_prior: Callable[[int], Tensor]) -> Tensor:
        """Independent draws `(S, U, D)`, of the prior only as many as are needed."""
        fitted = self.density.sample((num_draws,))
        from_prior = torch.rand(fitted.shape[:2], device=fitted.device) < self.prior_share
        # What is rounded to a boundary is the prior's to replace.
        from_prior = from_prior | ~fitted.isfinite().all(-1)
        prior = draw_prior(max(1, int(from_prior.sum(0).max())))
        turn = (from_prior.cumsum(0) - 1).clamp(min=0)
        chosen = prior.take_along_dim(turn[..., None], 0)
        return torch.where(from_prior[..., None], chosen, fitted.to(prior))

    def log_prob(self, position: Tensor, log_prior: Tensor) -> Tensor:
        """The log density at `(S, U, D)`, where the prior's is known, `(S, U)` in float64."""
        return torch.logaddexp(*self._terms(position, log_prior))

    def log_prob_and_gradient(
        self, position: Tensor, log_prior: Tensor, prior_gradient: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The log density `(S, U)` and its gradient `(S, U, D)`."""
        with torch.enable_grad():
            point = position.detach().double().requires_grad_()
            fitted, prior = self._terms(point, log_prior)
            # A density that is level has no gradient of its own: zero, not an error.
            (gradient,) = torch.autograd.grad(fitted.sum() + 0.0 * point.sum(), point)
        total = torch.logaddexp(fitted.detach(), prior)
        share = (fitted.detach() - total).exp().nan_to_num(0.0).unsqueeze(-1)
        mixed = share * gradient.nan_to_num(0.0, 0.0, 0.0) + (1 - share) * prior_gradient
        return total, mixed.to(position)

    def _terms(self, position: Tensor, log_prior: Tensor) -> tuple[Tensor, Tensor]:
        fitted = self.density.log_prob(position.double()).double()
        return fitted + torch.log1p(-self.prior_share), log_prior + self.prior_share.log()


class ReferenceTarget(GradientTarget):
    r"""A program whose path to the posterior begins at a reference density instead of its prior.

    .. math:: \pi_t(u) \propto q(u)^{1 - t} \, p(x, u)^t

    In a state `log_prior` is log q and `log_likelihood` is log p(x, u) - log q(u), so that all that
    goes from the prior to the posterior goes from q to it, with the same normaliser p(x). Near the
    posterior the way is short, however vague the prior is.

    Args:
        program: The bound program.
        reference: q.

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> posterior = dist.MultivariateNormal(torch.zeros(3, 1), 0.5 * torch.eye(1))
        >>> program = lv.bind(model, torch.zeros(3))
        >>> reference = DefensiveDensity(posterior, torch.full((3,), 1e-9))
        >>> target = ReferenceTarget(program, reference)
        >>> state = target.state_at(target.draw_finite_prior(4)[None])
        >>> state.log_likelihood[0, :, 0].std() < 1e-6  # The reference is the posterior.
        tensor(True)
    """

    def __init__(self, program: BoundProgram, reference: DefensiveDensity) -> None:
        super().__init__(program)
        self.reference = reference

    def draw_prior(self, num_draws: int) -> Tensor:
        """Exact draws of the reference, `(num_draws, U, D)`."""
        return self.reference.draw(num_draws, super().draw_prior)

    def state_at(self, position: Tensor) -> GradientState:
        """The state of chains at positions `(T, C, N, D)`; see `GradientTarget.state_at`."""
        state = super().state_at(position)
        flat = (part.flatten(0, 1) for part in (position, state.log_prior, state.prior_gradient))
        log_reference, gradient = (
            part.unflatten(0, position.shape[:2])
            for part in self.reference.log_prob_and_gradient(*flat)
        )
        joint_gradient = state.prior_gradient + state.likelihood_gradient
        return replace(
            state,
            log_prior=log_reference,
            log_likelihood=state.log_prior + state.log_likelihood - log_reference,
            prior_gradient=gradient,
            likelihood_gradient=joint_gradient - gradient,
        )


def starts_at_prior(guide: Program | None) -> bool:
    """Whether the way from a guide is that from the prior: there is none, or it is a population.

    Example:
        >>> starts_at_prior(None), starts_at_prior(lambda x: None)
        (True, False)
    """
    return guide is None or isinstance(guide, LibraryGuide)


def target_from(program: BoundProgram, guide: Program | None) -> GradientTarget:
    """The way to the posterior from a guide, or from the prior where there is none.

    A guide of densities at any value, such as `AmortizedGuide`, is the start itself; to the draws
    of others (Pyro's autoguides, flows) a mixture is fitted. Where prior draws stand higher than
    the guide's on the first part of the way, the guide is too narrow or off its place: there the
    way begins at the prior, for each unit by itself. The library's populations, which have a
    density at their own draws alone, begin at the prior.

    Args:
        program: The bound program, seen with the guide.
        guide: The guide.
    """
    plain = GradientTarget(program)
    if guide is None or starts_at_prior(guide):
        return plain
    density = _density_of(plain, guide)
    target = ReferenceTarget(program, DefensiveDensity(density, _share(plain, density)))
    target.num_evaluations = plain.num_evaluations
    return target


def _density_of(target: GradientTarget, guide: Program) -> Density:
    """The guide's own density, or one that is fitted to its draws."""
    program = target.program
    density = GuideDensity(target, guide)
    # What a mask hides has no density in the guide, but the chains move over it.
    if program.stacks and not any(site.masked for site in program.structure.latents):
        sites = program.record_guide(guide, 1).latents
        names = {site.name for site in program.structure.latents}
        if sites.keys() == names and not any(map(is_delta, sites.values())):
            return density
    draws = density.sample((_NUM_FITTED,))
    is_first = torch.arange(len(draws), device=draws.device) < len(draws) // 2
    return fit_mixture(draws, torch.zeros_like(draws[..., 0]), is_first)


def _share(target: GradientTarget, density: Density) -> Tensor:
    """The prior's share of each unit: all, where it is the better start, `(U,)`."""
    prior = target.draw_finite_prior(_NUM_PROBED)
    fitted = density.sample((_NUM_PROBED,)).to(prior)
    both = torch.where(fitted.isfinite().all(-1, keepdim=True), fitted, prior)
    draws = torch.cat([prior, both])
    log_prior, log_likelihood = target.log_densities(draws)
    mixed = DefensiveDensity(density, torch.full_like(log_prior[0], PRIOR_SHARE))
    log_weight = log_prior + log_likelihood - mixed.log_prob(draws, log_prior)
    log_weight = log_weight.nan_to_num(-torch.inf)
    from_prior, from_guide = log_mean_exp(
        (_FIRST_TEMPERATURE * log_weight).unflatten(0, (2, -1)), 1
    )
    return torch.where(from_prior > from_guide, 1.0, PRIOR_SHARE).to(log_prior)
