"""Exact posterior draws by rejection from the prior, under a true bound of the likelihood."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lvkam_pyro.guides.likelihood_bound import derive_bound
from lvkam_pyro.guides.population import Draw, PopulationGuide
from lvkam_pyro.options import check_count, check_share
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.particles import Particles
from lvkam_pyro.tracing.prior_guide import PriorGuide
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.session import no_handlers

_NUM_CHECKS = 16
_FIRST_BLOCK = 1024
_ROUNDING = 1000
"""Units of the last place by which a log likelihood, a difference, may exceed its bound."""


@dataclass(frozen=True)
class RejectionDraws:
    """Independent, exact draws from the posterior of each datum, and the evidence on the way.

    Attributes:
        latents: Site name to draws, `(D, N, *event)`.
        log_evidence: The log of the mean acceptance probability plus the bound, `(N,)`.
        standard_error: Its standard error, `(N,)`.
        acceptance: The mean acceptance probability, `(N,)`.
        num_proposed: Prior draws proposed to each datum.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Bernoulli(logits=z), obs=x)
        >>> draws = RejectionGuide(model).sample(torch.ones(2), num_draws=1000)
        >>> draws.log_evidence.exp().round(decimals=1)  # One half, exactly.
        tensor([0.5000, 0.5000], dtype=torch.float64)
    """

    latents: dict[str, Tensor]
    log_evidence: Tensor
    standard_error: Tensor
    acceptance: Tensor
    num_proposed: int


class RejectionGuide(PopulationGuide):
    r"""A Pyro guide whose draws are exactly the posterior's: prior draws that survive rejection.

    .. math:: z \sim p(z) \ \text{accepted with probability} \
              \frac{p(x_n | z)}{M_n}, \qquad \log M_n \ge \max_z \log p(x_n | z)

    All data share the prior draws, each accepts for itself, until every datum has its draws: exact
    and independent of each other, at a cost of :math:`M_n / p(x_n)` proposals a draw. That is
    little for one or two latents or vague data and hopeless beyond: then it says so.

    The bound must be true. For normal likelihoods whose scale is known it is the density at the
    mean, :math:`-\sum_o \log \sigma_o - \tfrac{O}{2} \log 2 \pi`; for discrete ones it is 0; for
    others give it. A draw whose likelihood is above the bound is an error, never ignored.

    The evidence is a by-product: :math:`\log p(x_n)` is the log acceptance plus the bound. In
    `draw_particles` every weight of a datum is that estimate.

    Args:
        model: The Pyro model.
        max_log_likelihood: The bound of each datum's log likelihood, a number or `(N,)`. Default:
            derived.
        min_acceptance: Refuse where fewer than this share of the prior's draws are accepted.

    Raises:
        ValueError: If `min_acceptance` is not between 0 and 1; when called, if no bound is known,
            the bound is not true, or the prior is not normalised.
        RuntimeError: When called, where the acceptance is below `min_acceptance`.

    References:
        Devroye, L. (1986). Non-uniform random variate generation, section II.3.
        https://doi.org/10.1007/978-1-4613-8643-8

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> draws = RejectionGuide(model).sample(torch.zeros(3), num_draws=100)
        >>> draws.latents["z"].shape
        torch.Size([100, 3])
        >>> draws.acceptance.round(decimals=1)
        tensor([0.7000, 0.7000, 0.7000], dtype=torch.float64)
    """

    def __init__(
        self,
        model: Program,
        *,
        max_log_likelihood: Tensor | float | None = None,
        min_acceptance: float = 1e-4,
    ) -> None:
        super().__init__(model)
        self.max_log_likelihood = max_log_likelihood
        self.min_acceptance = check_share("min_acceptance", min_acceptance)

    def sample(self, *args: Any, num_draws: int, seed: int = 0, **kwargs: Any) -> RejectionDraws:
        """Draw from the posterior of each datum.

        Args:
            *args: The arguments of the model.
            num_draws: D, draws for each datum.
            seed: Equal seeds give equal draws; the caller's generators are left alone.
            **kwargs: The keyword arguments of the model.

        Returns:
            The draws.

        Raises:
            TypeError: If `x` is no tensor, or the count no integer.
            ValueError: If `x` is empty or not finite, or as of the class.
            RuntimeError: Where the acceptance is below `min_acceptance`.
        """
        check_count("num_draws", num_draws)
        program = bind(self.model, *args, **kwargs)
        with program.session(seed=seed), no_handlers():
            run = self._run(program, num_draws)
        return RejectionDraws(
            latents=program.structure.split(run.position),
            log_evidence=run.log_evidence,
            standard_error=run.standard_error,
            acceptance=run.acceptance,
            num_proposed=run.num_proposed,
        )

    def prepare(self, program: BoundProgram) -> Draw:
        """Rejection at the model's present parameters; see `PopulationGuide.prepare`."""

        def draw(num_draws: int) -> tuple[Tensor, Tensor]:
            run = self._run(program, num_draws)
            self.num_evaluations += run.num_proposed
            return run.position, run.log_joint - run.log_evidence

        return draw

    def _run(self, program: BoundProgram, num_draws: int) -> "_Rejection":
        proposal = _prior(program)
        run = _Rejection(self._bound(program), num_draws, self.min_acceptance)
        limit = program.particles_per_run()
        size = min(_FIRST_BLOCK, limit)
        while size > 0:
            particles = program.draw(proposal, size)
            run.add(particles, program.structure.join(particles.latents, particles.num_units))
            size = min(run.num_needed, limit)
        return run

    def _bound(self, program: BoundProgram) -> Tensor:
        """The bound of each datum's log likelihood, `(N,)` in double precision."""
        if self.max_log_likelihood is None:
            return derive_bound(program)
        device, num_units = program.like.device, program.num_units
        bound = torch.as_tensor(self.max_log_likelihood, dtype=torch.float64, device=device)
        if bound.shape not in ((), (num_units,)) or not bound.isfinite().all():
            raise ValueError(
                "Expected max_log_likelihood as a finite number or one for each of the "
                f"{num_units} data, but got {bound} of shape {tuple(bound.shape)}."
            )
        return bound.expand(num_units)


class _Rejection:
    """Acceptance, block by block: the draws so far and their cost.

    Attributes:
        position: `(D, N, Q)`, once the first block is in.
        log_joint: Their log p(x_n, z), `(D, N)`.
        num_proposed: Proposals to each datum.
    """

    position: Tensor
    log_joint: Tensor

    def __init__(self, bound: Tensor, num_draws: int, min_acceptance: float) -> None:
        self.bound = bound
        self.num_draws = num_draws
        self.min_acceptance = min_acceptance
        self.num_proposed = 0
        self._filled = torch.zeros_like(bound, dtype=torch.int64)
        self._sum = torch.zeros_like(bound)
        self._squares = torch.zeros_like(bound)

    def add(self, particles: Particles, position: Tensor) -> None:
        """Accept or refuse a block of prior draws `(B, N, Q)`."""
        log_probability = self._checked(particles.log_likelihood)
        probability = log_probability.clamp(max=0).exp()
        self.num_proposed += len(position)
        self._sum += probability.sum(0)
        self._squares += probability.square().sum(0)
        self._keep(torch.rand_like(probability) < probability, particles.log_joint, position)

    def _keep(self, accepted: Tensor, log_joint: Tensor, position: Tensor) -> None:
        if self.num_proposed == len(position):
            self.position = position.new_empty(self.num_draws, *position.shape[1:])
            self.log_joint = log_joint.new_empty(self.num_draws, log_joint.shape[1])
        place = self._filled + accepted.cumsum(0) - 1
        row, datum = (accepted & (place < self.num_draws)).nonzero(as_tuple=True)
        self.position[place[row, datum], datum] = position[row, datum]
        self.log_joint[place[row, datum], datum] = log_joint[row, datum]
        self._filled = (self._filled + accepted.sum(0)).clamp(max=self.num_draws)

    def _checked(self, log_likelihood: Tensor) -> Tensor:
        """The log acceptance probabilities, none of which is above 0."""
        excess = log_likelihood.double() - self.bound
        rounding = _ROUNDING * torch.finfo(log_likelihood.dtype).eps
        wrong = ~(excess <= rounding * (1 + self.bound.abs()))
        if wrong.any():
            _, datum = wrong.nonzero()[0].tolist()
            found = float(log_likelihood[:, datum].max())
            raise ValueError(
                f"The bound {float(self.bound[datum]):.6g} of datum {datum}'s log likelihood is "
                f"not true: a prior draw has {found:.6g}. Pass a larger max_log_likelihood."
            )
        return excess

    @property
    def acceptance(self) -> Tensor:
        """The mean acceptance probability, `(N,)`: of less variance than the share accepted."""
        return self._sum / self.num_proposed

    @property
    def log_evidence(self) -> Tensor:
        """`(N,)`."""
        return self.acceptance.log() + self.bound

    @property
    def standard_error(self) -> Tensor:
        """Of the log evidence, `(N,)`."""
        variance = self._squares / self.num_proposed - self.acceptance.square()
        return (variance.clamp(min=0) / self.num_proposed).sqrt() / self.acceptance

    @property
    def num_needed(self) -> int:
        """About how many more proposals are needed: 0 when every datum has its draws.

        Raises:
            RuntimeError: If it is hopeless.
        """
        missing = self.num_draws - self._filled
        if not missing.any():
            return 0
        enough = math.ceil(1 / self.min_acceptance)
        hopeless = (missing > 0) & (self.acceptance < self.min_acceptance)
        if self.num_proposed >= enough and hopeless.any():
            raise RuntimeError(self._message(hopeless))
        rate = self.acceptance.clamp(min=self.min_acceptance)
        return min(math.ceil(1.2 * float((missing / rate).max())), enough)

    def _message(self, hopeless: Tensor) -> str:
        worst = int(torch.where(hopeless, self.acceptance, 1.0).argmin())
        rate = float(self.acceptance[worst])
        number = f"about {self.num_draws / rate:.1e}" if rate > 0 else "no known number of"
        places = hopeless.nonzero().squeeze(-1).tolist()
        shown = ", ".join(map(str, places[:8])) + (", ..." if len(places) > 8 else "")
        return (
            f"Rejection from the prior is hopeless at {len(places)} of {len(hopeless)} data "
            f"({shown}): of {self.num_proposed} prior draws a share of {rate:.1e} would be "
            f"accepted at datum {worst}, where {self.num_draws} draws need {number} proposals; the "
            f"limit is min_acceptance = {self.min_acceptance:g}. Use LookaheadGuide if the model "
            "is additive, Ladder or AmortizedGuide otherwise, or lower min_acceptance."
        )


def _prior(program: BoundProgram) -> Program:
    """The prior as a proposal, shared by all data where it is the same for all.

    Raises:
        ValueError: If a latent's density is not that of its draws.
    """
    for site in program.structure.latents:
        if site.masked:
            raise ValueError(
                f"The latent site '{site.name}' has a mask or a subsampled inner plate around it, "
                "so its density is not that of its draws. Remove it, or use ImportanceGuide."
            )
    guide = PriorGuide(program.model)
    particles = program.draw(guide, _NUM_CHECKS)
    same = torch.equal(particles.log_prior, particles.log_guide)
    # The method is a guide like any other, which draws for each datum by itself.
    return guide if same else guide.__call__
