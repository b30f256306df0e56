"""The ladder from prior to posterior, for every datum at once, and its samples."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor
from tqdm.auto import tqdm

from lvkam_pyro.ladder.chains import MIN_DRAWS, Chains
from lvkam_pyro.ladder.hmc import MALA
from lvkam_pyro.ladder.kernel import Kernel
from lvkam_pyro.ladder.reference import ReferenceTarget
from lvkam_pyro.ladder.schedule import PilotSchedule, PowerSchedule
from lvkam_pyro.ladder.target import Target
from lvkam_pyro.options import check_count
from lvkam_pyro.statistics.convergence import chain_effective_sample_size, chain_rhat
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind, bind_guide
from lvkam_pyro.tracing.program import BoundProgram


@dataclass(frozen=True)
class LadderSamples:
    r"""Draws of a ladder: from :math:`p_t(z|x) \propto p(x|z)^t p(z)` at each temperature.

    Shapes: `D` kept draws, `C` chains, `T` temperatures, `N` data.

    Attributes:
        temperatures: `(T,)` in float64, from 0 to 1.
        log_likelihood: `(D, C, T, N)` in float64.
        latents: Site name to the draws at temperature 1, `(D, C, N, *inner plates, *event)`.
        acceptance: `(T, N)`, the chains' mean acceptance (1 at temperature 0, which draws exactly).
        swap_rate: `(T - 1, N)`, the mean probability of exchange between neighbours.
        step_size: `(T, N)`, the steps in preconditioned units; infinite where a kernel has none.
        rhat: `(T, N)`, R-hat of the log likelihood between whole chains.
        ess: `(T, N)`, the effective number of draws of the mean log likelihood.
        restarts: `(N,)`, the states of all chains that have come from the first temperature, where
            draws are exact, to the last: independent visits of the posterior.
        num_likelihood_evaluations: Per datum; warm-up, start and a schedule's pilot included.
        data_scale: The data plate's full size divided by its size.
        data_hash: A short name of the observations.
        biased: Whether the kernel's chains converge to other densities than these.
        from_guide: Whether it began at a guide: `log_likelihood` is then log p(x, z) - log q(z|x).
        path: Site name to the draws at all temperatures, `(D, C, T, N, *inner plates, *event)`, if
            the ladder was asked to keep them; else empty.

    Example:
        >>> import lvkam_pyro as lv, torch
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
        >>> ladder = Ladder(num_temperatures=4, num_chains=8, num_warmup=8, num_samples=8)
        >>> samples = ladder.sample(model, torch.rand(5, 3))
        >>> samples.log_likelihood.shape, samples.latents["z"].shape
        (torch.Size([8, 8, 4, 5]), torch.Size([8, 8, 5, 2]))
    """

    temperatures: Tensor
    log_likelihood: Tensor
    latents: dict[str, Tensor]
    acceptance: Tensor
    swap_rate: Tensor
    step_size: Tensor
    rhat: Tensor
    ess: Tensor
    restarts: Tensor
    num_likelihood_evaluations: int
    data_scale: float
    data_hash: str
    biased: bool = False
    from_guide: bool = False
    path: dict[str, Tensor] = field(default_factory=dict)

    def __repr__(self) -> str:
        num_draws, num_chains, num_temperatures, num_data = self.log_likelihood.shape
        return (
            f"LadderSamples({num_draws} draws of {num_chains} chains at {num_temperatures} "
            f"temperatures, {num_data} data)"
        )

    @property
    def num_chains(self) -> int:
        """The number of chains C."""
        return self.log_likelihood.shape[1]

    @property
    def num_data(self) -> int:
        """The number of data N."""
        return self.log_likelihood.shape[-1]


@dataclass(frozen=True, kw_only=True)
class Ladder:
    r"""The ladder: what to run. `sample` runs it.

    .. math:: p_t(z|x_n) \propto p(x_n|z)^t \, p(z), \quad 0 = t_0 < \dots < t_{T-1} = 1

    Chains at all temperatures move together: exact prior draws at t = 0, the kernel's steps above
    (preconditioned MALA by default), exchange of neighbours after each step, per datum. The chains
    start from a short tempered sequential Monte Carlo run (look-ahead draws, with
    `GridGibbsKernel`). Equal ladders compare equal, so that estimators can share one run.

    With a guide q the way begins there in the place of the prior,

    .. math:: p_t(z|x_n) \propto q(z|x_n)^{1 - t} \, p(x_n, z)^t

    and what is called a log likelihood is log p(x, z) - log q(z|x); see `target_from`. It is
    shorter: few temperatures in equal steps, `PowerSchedule(1.0)`, do what many do from the prior.

    Args:
        num_temperatures: T.
        num_chains: C, independent ladders: the replicates of every standard error.
        num_warmup: Steps that adapt step sizes and covariances, and are dropped.
        num_samples: D, the kept draws of each chain.
        thinning: Steps for each kept draw.
        schedule: Where the temperatures lie: a function of their number (`PowerSchedule`), or a
            `PilotSchedule` that finds out on the data.
        kernel: How the chains move: `MALA()` or `HMC()` for any model, `GridGibbsKernel()` for
            additive ones.
        keep_path: Whether to keep the latents at all temperatures, which takes T times the memory.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is too small.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> ladder = Ladder(num_temperatures=4, num_warmup=20, num_samples=10)
        >>> samples = ladder.sample(model, torch.zeros(3))
        >>> samples.log_likelihood.shape, samples.latents["z"].shape
        (torch.Size([10, 32, 4, 3]), torch.Size([10, 32, 3]))
    """

    num_temperatures: int = 20
    num_chains: int = 32
    num_warmup: int = 120
    num_samples: int = 80
    thinning: int = 2
    schedule: Callable[[int], Tensor] | PilotSchedule = field(default_factory=PowerSchedule)
    kernel: Kernel[Any, Any] = field(default_factory=MALA)
    keep_path: bool = False

    def __post_init__(self) -> None:
        for name, minimum in (
            ("num_temperatures", 2),
            ("num_chains", 2),
            ("num_warmup", 0),
            ("num_samples", MIN_DRAWS),
            ("thinning", 1),
        ):
            check_count(name, getattr(self, name), minimum=minimum)

    def sample(
        self,
        model: Program,
        *args: Any,
        guide: Program | None = None,
        seed: int = 0,
        progress: bool = False,
        **kwargs: Any,
    ) -> LadderSamples:
        """Draw from the densities at all temperatures, for each unit.

        Interrupting it (Ctrl-C) returns the draws kept so far, if every datum has at least 4 of
        them; otherwise the interrupt goes on.

        Args:
            model: A Pyro program, or a bound program, which stands for its arguments too.
            *args: The program's arguments.
            guide: Where the ladder begins in the place of the prior; see `Ladder`.
            seed: Equal seeds give equal draws; the caller's generators are left alone.
            progress: Whether to show a progress bar.
            **kwargs: The program's keyword arguments.

        Returns:
            The draws.

        Raises:
            TypeError: If data are no tensors.
            ValueError: If `bind` refuses the model, or its prior is not normalised, or
                `bind_guide` the guide.
        """
        program = bind(model, *args, **kwargs)
        if guide is not None:
            program = bind_guide(program, guide)
        return self.sample_bound(program, guide, seed=seed, progress=progress)

    def sample_bound(
        self, program: BoundProgram, guide: Program | None, *, seed: int, progress: bool = False
    ) -> LadderSamples:
        """Draw from a program that was bound, and seen with the guide; see `sample`."""
        temperatures, pilot_evaluations = self._temperatures(program, seed)
        rungs = self.num_temperatures * self.num_chains
        blocks = list(program.blocks(rungs * self.kernel.num_values(program)))
        num_steps = len(blocks) * (self.num_warmup + self.num_samples * self.thinning)
        bar = tqdm(total=num_steps, desc="ladder", unit="step", disable=not progress)
        with bar, program.session(guide, seed=seed):
            parts = [
                self._climb(self.kernel.bind(block, guide), temperatures, bar.update)
                for block in blocks
            ]
        samples = _join(parts, program)
        evaluations = samples.num_likelihood_evaluations + pilot_evaluations
        return replace(samples, num_likelihood_evaluations=evaluations)

    def _climb(
        self, target: Target, temperatures: Tensor, tick: Callable[[], object]
    ) -> LadderSamples:
        """The samples of one block of data."""
        start = self.kernel.start(target, temperatures, self.num_chains)
        chains = Chains(self.kernel, target, temperatures, start, self.num_warmup)
        chains.warm_up(tick)
        record = chains.keep(
            self.num_samples, thinning=self.thinning, keep_path=self.keep_path, tick=tick
        )
        path, log_likelihood = chains.latents(record), record.log_likelihood
        return LadderSamples(
            temperatures=temperatures,
            log_likelihood=log_likelihood,
            latents={name: draws[:, :, -1] for name, draws in path.items()},
            acceptance=record.acceptance,
            swap_rate=record.swap_rate,
            step_size=chains.adaptation.tuning.step,
            rhat=chain_rhat(log_likelihood),
            ess=chain_effective_sample_size(log_likelihood),
            restarts=chains.restarts.sum(0),
            num_likelihood_evaluations=target.num_evaluations,
            data_scale=1.0,
            data_hash="",
            biased=self.kernel.biased,
            from_guide=isinstance(target, ReferenceTarget),
            path=path if self.keep_path else {},
        )

    def _temperatures(self, program: BoundProgram, seed: int) -> tuple[Tensor, int]:
        """The temperatures, and the likelihood evaluations that finding them cost."""
        schedule, evaluations = self.schedule, 0
        if isinstance(schedule, PilotSchedule):
            schedule = schedule.fit(program, self.num_temperatures, seed=seed)
            evaluations = schedule.num_likelihood_evaluations
        return schedule(self.num_temperatures).to(program.like.device), evaluations


_PER_DATUM = ("acceptance", "swap_rate", "step_size", "rhat", "ess", "restarts")


def _join(parts: list[LadderSamples], program: BoundProgram) -> LadderSamples:
    """The samples of all data from those of its blocks, cut to the shortest."""
    num_draws = min(len(part.log_likelihood) for part in parts)

    def join_draws(name: str, dim: int) -> dict[str, Tensor]:
        sites = [getattr(part, name) for part in parts]
        return {
            site: program.join([draws[site][:num_draws] for draws in sites], dim)
            for site in sites[0]
        }

    whole: dict[str, Any] = {
        name: program.join([getattr(part, name) for part in parts]) for name in _PER_DATUM
    }
    return replace(
        parts[0],
        **whole,
        log_likelihood=program.join([part.log_likelihood[:num_draws] for part in parts]),
        latents=join_draws("latents", 2),
        path=join_draws("path", 3),
        num_likelihood_evaluations=max(part.num_likelihood_evaluations for part in parts),
        data_scale=program.data_scale,
        data_hash=program.data_hash,
    )
