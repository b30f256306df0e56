"""A way from a fitted density to the posterior, in place of that from the prior."""

import math
from dataclasses import dataclass, replace

import torch
from pyro.distributions import MixtureSameFamily
from torch import Tensor

from lvkam_pyro.ladder.state import GradientState
from lvkam_pyro.ladder.target import GradientTarget
from lvkam_pyro.tracing.program import BoundProgram


@dataclass(frozen=True)
class DefensiveMixture:
    r"""A density fitted over unconstrained latents, with a share of the prior.

    .. math:: q(u) = (1 - a) \, m(u) + a \, p(u)

    The share bounds every weight by :math:`\max_u p(x | u) / a` (Hesterberg 1995,
    https://doi.org/10.1080/00401706.1995.10484303).

    Attributes:
        mixture: m, of batch shape `(U,)` and event shape `(D,)`, in float64.
        prior_share: a, between 0 and 1.
        drift: How much the population that it was fitted to still moved, in standard errors,
            `(U,)`; None if it was fitted to none.

    Example:
        >>> import pyro.distributions as dist
        >>> kernels = dist.MultivariateNormal(torch.zeros(2, 1, 3), torch.eye(3))
        >>> mixture = MixtureSameFamily(dist.Categorical(torch.ones(2, 1)), kernels)
        >>> reference = DefensiveMixture(mixture, 0.05)
        >>> reference.draw(torch.zeros(5, 2, 3)).shape
        torch.Size([5, 2, 3])
    """

    mixture: MixtureSameFamily
    prior_share: float
    drift: Tensor | None = None

    def draw(self, prior: Tensor) -> Tensor:
        """Independent draws `(S, U, D)`, given as many of the prior."""
        fitted = self.mixture.sample((len(prior),)).to(prior)
        from_prior = torch.rand(fitted.shape[:2]).to(prior) < self.prior_share
        return torch.where(from_prior[..., None], prior, fitted)

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
            (gradient,) = torch.autograd.grad(fitted.sum(), point)
        total = torch.logaddexp(fitted.detach(), prior)
        share = (fitted.detach() - total).exp().unsqueeze(-1)
        mixed = share * gradient.nan_to_num(0.0, 0.0, 0.0) + (1 - share) * prior_gradient
        return total, mixed.to(position)

    def _terms(self, position: Tensor, log_prior: Tensor) -> tuple[Tensor, Tensor]:
        fitted = self.mixture.log_prob(position.double()) + math.log1p(-self.prior_share)
        return fitted, log_prior + math.log(self.prior_share)


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
        >>> kernels = dist.MultivariateNormal(torch.zeros(3, 1, 1), 0.5 * torch.eye(1))
        >>> mixture = MixtureSameFamily(dist.Categorical(torch.ones(3, 1)), kernels.expand((3, 1)))
        >>> program = lv.bind(model, torch.zeros(3))
        >>> target = ReferenceTarget(program, DefensiveMixture(mixture, 1e-9))
        >>> state = target.state_at(target.draw_finite_prior(4)[None])
        >>> state.log_likelihood[0, :, 0].std() < 1e-6  # The reference is the posterior.
        tensor(True)
    """

    def __init__(self, program: BoundProgram, reference: DefensiveMixture) -> None:
        super().__init__(program)
        self.reference = reference

    def draw_prior(self, num_draws: int) -> Tensor:
        """Exact draws of the reference, `(num_draws, U, D)`."""
        return self.reference.draw(super().draw_prior(num_draws))

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
