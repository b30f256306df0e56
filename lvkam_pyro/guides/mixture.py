"""A guide that finds each datum's posterior by itself: a mixture fitted to tempered draws."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.guides.population import Draw, PopulationGuide
from lvkam_pyro.guides.scouts import Places, with_scouts
from lvkam_pyro.ladder.mixture_fit import fit_mixture
from lvkam_pyro.ladder.reference import PRIOR_SHARE, DefensiveDensity
from lvkam_pyro.ladder.target import GradientTarget
from lvkam_pyro.ladder.tempering import Tempering
from lvkam_pyro.options import check_count, check_share
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.unconstrained import Location

_EFFICIENCY = 0.5
_MAX_ROUNDS = 16
_NUM_VISITED = 256


class MixtureGuide(PopulationGuide):
    r"""A Pyro guide that proposes from a mixture fitted to a tempered population of each datum.

    .. math:: q(z | x_n) = (1 - a) \sum_m \pi_{nm} \, t_8(u; \mu_{nm}, \Sigma_{nm})
              \left| \frac{du}{dz} \right| + a \, p(z)

    with u the unconstrained coordinates. Whenever it is called, particles are carried from the
    prior to the posterior (tempered sequential Monte Carlo, Del Moral, Doucet and Jasra 2006) and
    moved until they settle, and `fit_mixture` fits kernels to them. Draws are independent with a
    known density, so their weights are those of plain importance sampling: modes whose mass the
    population got wrong are put right, and Pareto k shows a fit that is poor. The share of the
    prior bounds every weight by :math:`\max_z p(x_n | z) / a` (a defensive mixture, Hesterberg
    1995).

    Its draws are proposals: for posterior draws put it into an `ImportanceGuide`. It needs neither
    parameters nor training, and serves any model with continuous latents.
    Good up to about 20 coordinates and 16 modes; a mode that no particle meets is lost.

    Args:
        model: The Pyro model.
        num_pilots: Particles of the tempered population, rounded up to two islands of equal size.
        num_moves: MALA steps at each temperature.
        prior_share: a, between 0 and 1.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is below 1 or the share not between 0 and 1; when called, if a latent
            cannot move on the real line.

    References:
        Hesterberg, T. (1995). Weighted average importance sampling and defensive mixture
        distributions. https://doi.org/10.1080/00401706.1995.10484303. Cappé, O. et al. (2008).
        Adaptive importance sampling in general mixture classes. https://arxiv.org/abs/0710.4242

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z.abs(), 0.1), obs=x)
        >>> guide = MixtureGuide(model, num_pilots=256)
        >>> particles = lv.draw_particles(model, guide, torch.ones(2), num_particles=1000)
        >>> particles.log_evidence.round(decimals=1)  # log 2 N(1; 0, 1.01)
        tensor([-0.7000, -0.7000])
    """

    independent = True

    def __init__(
        self,
        model: Program,
        *,
        num_pilots: int = 1024,
        num_moves: int = 5,
        prior_share: float = PRIOR_SHARE,
    ) -> None:
        super().__init__(model)
        self.num_pilots = check_count("num_pilots", num_pilots)
        self.num_moves = check_count("num_moves", num_moves)
        self.prior_share = check_share("prior_share", prior_share)

    def prepare(self, program: BoundProgram) -> Draw:
        """The mixture of each datum; see `PopulationGuide.prepare`."""
        target = GradientTarget(program)
        reference = self.fit(target)
        self.num_evaluations += target.num_evaluations
        return _Proposal(target, reference)

    def fit(self, target: GradientTarget) -> DefensiveDensity:
        """The density fitted to a population whose halves share no ancestor."""
        size = 2 * math.ceil(self.num_pilots / 2)
        pilots = Tempering(target, size, num_islands=2, num_moves=self.num_moves)
        visited = [_places(pilots), *(_places(pilots) for _ in pilots.ascend(_EFFICIENCY))]
        drift = pilots.settle(_MAX_ROUNDS)
        position = pilots.state.position[0]
        is_first = torch.arange(size, device=position.device) < size // 2
        # The halves count alike: under a vague prior their own estimates differ by many nats.
        mixture = fit_mixture(position, torch.zeros_like(position[..., 0]), is_first)
        mixture = with_scouts(target, mixture, visited)
        share = torch.full_like(drift, self.prior_share)
        return DefensiveDensity(mixture, share, drift)


def _places(pilots: Tempering) -> Places:
    """Some of the particles where they stand, with their log densities."""
    position, state = pilots.state.position[0], pilots.state
    log_joint = (state.log_prior + state.log_likelihood)[0]
    stride = max(1, len(position) // _NUM_VISITED)
    return position[::stride], log_joint[::stride], state.log_likelihood[0, ::stride]


@dataclass(frozen=True)
class _Proposal:
    """Draws from the reference of each datum, among the latents."""

    target: GradientTarget
    reference: DefensiveDensity

    def __call__(self, num_draws: int) -> tuple[Tensor, Tensor]:
        """Positions `(S, N, Q)` among the latents, and their log densities `(S, N)`."""
        position = self.reference.draw(num_draws, self.target.draw_prior)
        location = self.target.locate(position)
        log_prior = location.log_prior + location.log_jacobian
        log_density = self.reference.log_prob(position, log_prior) - location.log_jacobian
        log_density = log_density - self._hidden(location)
        points = self.target.structure.join(location.latents, self.target.num_units)
        return points, log_density

    def _hidden(self, location: Location) -> Tensor:
        """The log prior density of what masks hide, which the model's own does not count."""
        program = self.target.program
        if not any(site.masked for site in program.structure.latents):
            return torch.zeros_like(location.log_prior)
        return location.log_prior - program.at(location.latents)[0].double()
