"""The ladder as a guide: posterior draws of any model by chains that go on while it is trained."""

import math

from torch import Tensor

from lvkam_pyro.guides.memory import ChainMemory
from lvkam_pyro.guides.population import Draw, PopulationGuide
from lvkam_pyro.ladder.adaptation import Adaptation, blend
from lvkam_pyro.ladder.kernel import LadderPlan
from lvkam_pyro.ladder.mala import MALA
from lvkam_pyro.ladder.run import GradientKernel, LadderRun
from lvkam_pyro.ladder.schedule import PowerSchedule
from lvkam_pyro.ladder.tempering import Start, covariance_of, evaluate_state, temper
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.options import check_count
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.unconstrained import UnconstrainedProgram

_GAIN = 0.3
"""Of the log step sizes, which follow an acceptance that changes with the parameters."""


class LadderGuide(PopulationGuide):
    r"""A Pyro guide whose draws are the posterior rung of a ladder of power posteriors.

    .. math:: p_t(z|x_n) \propto p(x_n|z)^t \, p(z), \quad 0 = t_0 < \dots < t_{T-1} = 1

    For any model, without a network and without weights: as many ladders as draws run side by side
    for each datum, see `Ladder`. A ladder begins with tempered particles and
    `num_warmup` steps, in which step sizes and covariances adapt. Persistent ladders do so once:
    from one update of a training to the next each datum's chains, steps and covariances go on, and
    `num_steps` steps an update suffice.

    All weights of a datum are the steppingstone estimate of its evidence by the last state of the
    rungs, which costs nothing more and is noisy:

    .. math:: \log \hat p(x_n) = \sum_k \log \frac{1}{S} \sum_s
              p(x_n | z_{sk})^{t_{k+1} - t_k}

    (Xie et al. 2011, https://doi.org/10.1093/sysbio/syq085). The gradient of training is that of
    the posterior rung alone (Fisher's identity); the others let its chains change modes.

    Args:
        model: The Pyro model.
        num_temperatures: T.
        num_steps: Steps of every chain an update.
        num_warmup: Steps before those, where a ladder begins.
        kernel: How the chains move, `MALA()` or `HMC()`.
        persistent: Whether the chains go on in a training.

    Attributes:
        memory: Where the chains of each datum stand, if they go on; see `ChainMemory`.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is too small; when called, if the model has no normalised prior per
            datum, or not even two draws are asked for.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 5), lv.BernoulliLikelihood(5))
        >>> guide = LadderGuide(model, num_temperatures=4, num_steps=2, num_warmup=10)
        >>> lv.draw_particles(model, guide, torch.ones(20, 5), 8).latents["z"].shape
        torch.Size([8, 20, 2])
    """

    def __init__(
        self,
        model: Program,
        *,
        num_temperatures: int = 8,
        num_steps: int = 5,
        num_warmup: int = 60,
        kernel: GradientKernel | None = None,
        persistent: bool = True,
    ) -> None:
        super().__init__(model)
        self.num_temperatures = check_count("num_temperatures", num_temperatures, minimum=2)
        self.num_steps = check_count("num_steps", num_steps)
        self.num_warmup = check_count("num_warmup", num_warmup, minimum=0)
        self.kernel = MALA() if kernel is None else kernel
        self.memory = ChainMemory() if persistent else None

    def prepare(self, program: BoundProgram) -> Draw:
        """The ladders at the model's present parameters; see `PopulationGuide.prepare`."""
        memory = (
            self.memory
            if self.memory is not None and self.memory.is_for(program.num_units)
            else None
        )
        target = UnconstrainedProgram(program)

        def draw(num_draws: int) -> tuple[Tensor, Tensor]:
            run = LadderRun(target, self._plan(program, num_draws), self.kernel)
            ladder = None if memory is None else _left_in(memory, target, num_draws)
            ladder = self._begin(run) if ladder is None else ladder
            ladder = self._move(run, ladder)
            if memory is not None:
                memory.keep(_rows_of(ladder))
            self.num_evaluations += target.num_evaluations
            latents = target.constrain(ladder.state.position[-1])
            log_joint = program.log_joint(latents)
            log_evidence = _steppingstone(ladder.state.log_likelihood, run.temperatures)
            return program.structure.join(latents, program.num_units), log_joint - log_evidence

        return draw

    def _plan(self, program: BoundProgram, num_chains: int) -> LadderPlan:
        check_count("num_particles", num_chains, minimum=2)
        temperatures = PowerSchedule()(self.num_temperatures).to(program.like.device)
        return LadderPlan(temperatures, num_chains, self.num_warmup, self.num_steps, 1)

    def _begin(self, run: LadderRun) -> Start:
        """Ladders from the prior, warmed up."""
        start = temper(run.target, run.temperatures, run.plan.num_chains)
        state, adaptation = start.state, self._adaptation(start)
        for iteration in range(self.num_warmup):
            state, probability, _ = run.step(state, adaptation, iteration)
            adaptation.update(iteration, state, probability)
        return Start(state, adaptation.covariance, adaptation.log_step)

    def _move(self, run: LadderRun, ladder: Start) -> Start:
        """The steps of an update, by which step sizes and covariances go on to adapt."""
        state, adaptation = ladder.state, self._adaptation(ladder)
        for iteration in range(self.num_steps):
            state, probability, _ = run.step(state, adaptation, iteration)
            error = probability.mean(1) - self.kernel.target_acceptance
            error[0] = 0.0  # The prior is drawn exactly, without a step.
            adaptation.log_step = adaptation.log_step + _GAIN * error
        covariance = blend(covariance_of(state.position), 1.0, ladder.covariance)
        return Start(state, covariance, adaptation.log_step)

    def _adaptation(self, ladder: Start) -> Adaptation:
        return Adaptation(
            ladder.covariance,
            ladder.log_step,
            self.num_warmup,
            target_acceptance=self.kernel.target_acceptance,
            dtype=ladder.state.position.dtype,
        )


def _left_in(memory: ChainMemory, target: UnconstrainedProgram, num_chains: int) -> Start | None:
    """The ladders where they were left, at the present parameters; None if there are none."""
    kept = memory.recall()
    if kept is None or kept["position"].shape[2] != num_chains:
        return None
    position = kept["position"].movedim(0, 2).contiguous()
    covariance, log_step = (kept[name].movedim(0, 1) for name in ("covariance", "log_step"))
    return Start(evaluate_state(target, position), covariance, log_step)


def _rows_of(ladder: Start) -> dict[str, Tensor]:
    """What is kept of ladders, the data first."""
    return {
        "position": ladder.state.position.movedim(2, 0),
        "covariance": ladder.covariance.movedim(1, 0),
        "log_step": ladder.log_step.movedim(1, 0),
    }


def _steppingstone(log_likelihood: Tensor, temperatures: Tensor) -> Tensor:
    """The log evidence `(N,)` by the chains `(T, C, N)` at all temperatures but the last."""
    gaps = temperatures.diff()[:, None, None]
    steps = (gaps * log_likelihood[:-1]).logsumexp(1) - math.log(log_likelihood.shape[1])
    return steps.sum(0)
