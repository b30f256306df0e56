"""Temperatures that a pilot run finds: equal thermodynamic length, or equal loss of particles."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lvkam_pyro.ladder.ladder import Ladder
from lvkam_pyro.ladder.schedule import FixedSchedule, PilotSchedule, spread_evenly
from lvkam_pyro.ladder.target import GradientTarget
from lvkam_pyro.ladder.tempering import AnnealingPath
from lvkam_pyro.options import check_count, check_share
from lvkam_pyro.tracing.program import BoundProgram

_MAX_DATA = 64
"""A pilot looks at no more data than this, evenly spaced: their mean hardly moves with more."""


def _short_ladder() -> Ladder:
    return Ladder(num_temperatures=12, num_chains=8, num_warmup=40, num_samples=20, thinning=1)


@dataclass(frozen=True)
class EqualLengthSchedule(PilotSchedule):
    r"""Temperatures at equal thermodynamic length, as a pilot ladder measures it.

    .. math:: \Lambda(t) = \int_0^t \sqrt{\operatorname{Var}_s \log p(x | z)} \, ds, \qquad
              \Lambda(t_k) = \frac{k}{T - 1} \Lambda(1)

    so that :math:`\Delta_k \sqrt{Var}` is the same for all k: the spacing that serves neighbours'
    exchange and thermodynamic integration best. The square root is averaged over (at most 64 of)
    the data, for a ladder has the same temperatures for all of them; between the pilot's
    temperatures it is taken as even.

    Args:
        pilot: The ladder that measures the variances. Default: 12 temperatures of 8 short chains.

    Raises:
        ValueError: When run, if the data or the model are none for a ladder.

    References:
        Gelman, A. and Meng, X.-L. (1998). Simulating normalizing constants, section 4.
        https://doi.org/10.1214/ss/1028905934. Syed, S., Bouchard-Côté, A., Deligiannidis, G. and
        Doucet, A. (2022). Non-reversible parallel tempering. https://arxiv.org/abs/1905.02939

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 0.1), obs=x)
        >>> len(EqualLengthSchedule().fit(lv.bind(model, torch.zeros(3)), 6).temperatures)
        6
    """

    pilot: Ladder = field(default_factory=_short_ladder)

    def fit(self, program: BoundProgram, num_temperatures: int, *, seed: int = 0) -> FixedSchedule:
        """Run the pilot ladder; see `PilotSchedule.fit`."""
        check_count("num_temperatures", num_temperatures, minimum=2)
        samples = self.pilot.sample(_on_some_data(program), seed=seed)
        deviation = samples.log_likelihood.flatten(0, 1).std(0)
        # Far from the data the likelihood of a prior draw may be zero: no number, no variance.
        speed = deviation.nan_to_num(0.0, 0.0, 0.0).mean(-1)
        lengths = samples.temperatures.diff() * (speed[1:] + speed[:-1]) / 2
        return FixedSchedule(
            spread_evenly(samples.temperatures, lengths, num_temperatures),
            num_likelihood_evaluations=samples.num_likelihood_evaluations,
        )


@dataclass(frozen=True)
class ConditionalESSSchedule(PilotSchedule):
    r"""Temperatures between which a sequential Monte Carlo pilot loses equally many particles.

    .. math:: \frac{CESS_n}{S} = \frac{\big( \sum_s w_{sn} \big)^2}{S \sum_s w_{sn}^2} = \rho,
              \qquad w_{sn} = p(x_n | z_s)^{t_{k+1} - t_k}

    at each step of the pilot, which reweights, resamples and moves the particles of each datum from
    the prior to the posterior. The ladder's T temperatures then divide the number of steps evenly,
    on average over (at most 64 of) the data.

    Args:
        ratio: The share of the particles that each of the pilot's steps keeps, rho.
        num_particles: Particles S for each datum.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If it is below 2, or the ratio is not between 0 and 1.

    References:
        Zhou, Y., Johansen, A. and Aston, J. (2016). Toward automatic model comparison: an adaptive
        sequential Monte Carlo approach, section 3.3. https://arxiv.org/abs/1303.3123. Del Moral,
        P., Doucet, A. and Jasra, A. (2012). On adaptive resampling strategies for sequential Monte
        Carlo methods. https://arxiv.org/abs/1203.0464

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 0.1), obs=x)
        >>> len(ConditionalESSSchedule().fit(lv.bind(model, torch.zeros(3)), 6).temperatures)
        6
    """

    ratio: float = 0.9
    num_particles: int = 256

    def __post_init__(self) -> None:
        check_share("ratio", self.ratio)
        check_count("num_particles", self.num_particles, minimum=2)

    def fit(self, program: BoundProgram, num_temperatures: int, *, seed: int = 0) -> FixedSchedule:
        """Run the pilot population; see `PilotSchedule.fit`."""
        check_count("num_temperatures", num_temperatures, minimum=2)
        target = GradientTarget(_on_some_data(program))
        with program.session(seed=seed):
            path = AnnealingPath.adaptive(target, self.ratio, self.num_particles)
        temperatures = path.temperatures.unique()
        steps = torch.stack([_steps_to(temperatures, own) for own in path.temperatures.T]).mean(0)
        return FixedSchedule(
            spread_evenly(temperatures, steps.diff(), num_temperatures),
            num_likelihood_evaluations=target.num_evaluations,
        )


def _steps_to(temperatures: Tensor, path: Tensor) -> Tensor:
    """The steps of one datum's path `(R,)` up to each temperature, parts included."""
    path = path[: int((path < 1).sum()) + 1].cpu()
    steps = np.interp(temperatures.cpu().numpy(), path.numpy(), np.arange(len(path)))
    return torch.from_numpy(steps)


def _on_some_data(program: BoundProgram) -> BoundProgram:
    """The program on evenly spaced data, where it takes any number of them."""
    if not program.takes_any or program.num_units <= _MAX_DATA:
        return program.subsample()
    return program.rows(torch.linspace(0, program.num_units - 1, _MAX_DATA).long())
