"""The log evidence of simulated data, bounded from below and from above."""

from dataclasses import dataclass

from torch import Tensor

from lvkam_pyro.evidence.annealed import AnnealedImportance
from lvkam_pyro.evidence.evidence import to_double
from lvkam_pyro.ladder.target import GradientTarget
from lvkam_pyro.statistics.jackknife import log_mean_exp
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import SiteRecorder


@dataclass(frozen=True)
class Sandwich:
    """Stochastic bounds of the log evidence of each of some simulated data.

    Attributes:
        x: The data, `(N, ...)`.
        lower: Below log p(x_n) in expectation, `(N,)`.
        upper: Above it in expectation, `(N,)`.

    Example:
        >>> import torch
        >>> zeros, ones = torch.zeros(4), torch.ones(4)
        >>> Sandwich(zeros[:, None], -2 * ones, -1.5 * ones).gap
        0.5
    """

    x: Tensor
    lower: Tensor
    upper: Tensor

    @property
    def gap(self) -> float:
        """The mean of upper minus lower, in nats per datum: what the bounds leave open."""
        return float((self.upper - self.lower).mean())

    @property
    def gap_standard_error(self) -> float:
        """The standard error of the gap over the data."""
        return float((self.upper - self.lower).std() / len(self.lower) ** 0.5)

    def __str__(self) -> str:
        return (
            f"log evidence between {float(self.lower.mean()):.3f} and "
            f"{float(self.upper.mean()):.3f} nats per datum ({len(self.lower)} simulated data, "
            f"gap {self.gap:.3f} ± {self.gap_standard_error:.3f})"
        )


def sandwich(
    model: Program, x: Tensor, *, annealing: AnnealedImportance | None = None, seed: int = 0
) -> Sandwich:
    r"""Simulate data from the model and bound their log evidence from both sides.

    .. math:: E[\log \hat p(x_n)] \le \log p(x_n) \le E[-\log \hat r(x_n)], \qquad
        E[\hat r(x_n)] = 1 / p(x_n)

    The lower bound is annealed importance sampling from prior to posterior; the upper one is the
    same from the posterior back, which can start because the latents that a datum was simulated
    from are an exact draw of its posterior (bidirectional Monte Carlo: Grosse, Ghahramani and
    Adams 2015, https://arxiv.org/abs/1511.02543, section 3). A small gap vouches for the settings,
    on data that look like the model's own, where no other check sees a mode that all chains miss.

    Args:
        model: A Pyro model of one positional tensor, with a data plate along its first axis.
        x: Data of the shape to simulate; their values matter only where the model uses them
            otherwise than by observing them.
        annealing: How to anneal; None is `AnnealedImportance()`.
        seed: Equal seeds give equal results; the caller's generators are left alone.

    Returns:
        The bounds.

    Raises:
        ValueError: If the model has no evidence per datum, or does not observe its data, in the
            shape of `x`, at one site.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> annealing = AnnealedImportance(128, num_temperatures=40)
        >>> bounds = sandwich(model, torch.zeros(20), annealing=annealing)
        >>> abs(bounds.gap) < 0.1
        True
    """
    annealing = AnnealedImportance() if annealing is None else annealing
    program = bind(model, x)
    with program.session(seed=seed):
        simulated, run = _simulate(program)
        target = GradientTarget(program.on_data(simulated))
        exact = target.unconstrain(run).expand(annealing.num_drawn, -1, -1)
        path = annealing.path(target)
        prior = target.draw_finite_prior(annealing.num_drawn)
        up = annealing.anneal(target, path, prior)
        down = annealing.anneal(target, path.reversed, exact)
    lower, upper = (to_double(draws.population.log_ratio) for draws in (up, down))
    return Sandwich(simulated, log_mean_exp(lower), -log_mean_exp(upper))


def _simulate(program: BoundProgram) -> tuple[Tensor, SiteRecorder]:
    """Data and the run of the program that they come from, with a particle axis of one."""
    x = program.like
    run = program.simulate()
    latents = {site.name for site in program.structure.latents}
    drawn = [site["value"] for name, site in run.sites.items() if name not in latents]
    shapes = [tuple(value.shape[-x.ndim :]) for value in drawn]
    if shapes != [tuple(x.shape)]:
        raise ValueError(
            f"Expected the model to observe its data, of shape {tuple(x.shape)}, at one site, but "
            f"its observed sites draw {shapes}."
        )
    return drawn[0].reshape(x.shape), run
