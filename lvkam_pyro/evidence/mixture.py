"""Evidence by importance sampling from a mixture that is fitted on the way."""

from lvkam_pyro.evidence.importance import Importance
from lvkam_pyro.guides.mixture import MixtureGuide
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram


class MixtureImportance(Importance):
    r"""Importance sampling from a `MixtureGuide`, which needs no training.

    .. math:: \log \hat p(x_n) = \log \frac{1}{S} \sum_s \frac{p(x_n, z_s)}{q(z_s | x_n)}

    with q fitted to one tempered population of each datum before any z is drawn, so that exp of
    the estimate is unbiased and the islands are independent. Likelihood evaluations count those of
    the population. For a few modes and up to about 20 latents it is the most accurate method of
    those that serve any model; elsewhere Pareto k says so. Diagnostics and verdict are those of
    `Importance`. A guide that is given is left aside.

    Args:
        num_particles: S, at least (rounded up to full islands).
        num_replicates: R islands.
        num_pilots: Particles of the tempered population.
        num_moves: MALA steps at each of its temperatures.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If there is no particle, or fewer than two replicates; when used, if a latent
            cannot move on the real line.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> evidence = MixtureImportance(4096, num_pilots=256).estimate(model, torch.zeros(2))
        >>> bool((evidence.log_evidence + 1.2655).abs().max() < 0.1)
        True
    """

    name = "MixtureImportance"
    remedy = "Use MultistateBAR, TemperedSMC or, for additive models, Lookahead."

    def __init__(
        self,
        num_particles: int = 16384,
        *,
        num_replicates: int = 32,
        num_pilots: int = 1024,
        num_moves: int = 5,
    ) -> None:
        super().__init__(num_particles, num_replicates=num_replicates)
        self.num_pilots = num_pilots
        self.num_moves = num_moves

    def proposal(self, program: BoundProgram, guide: Program | None) -> MixtureGuide:
        """The mixture, which is fitted to each block of data."""
        return MixtureGuide(program.model, num_pilots=self.num_pilots, num_moves=self.num_moves)
