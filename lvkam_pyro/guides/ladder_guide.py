"""The ladder as a guide: posterior draws of any model by chains that go on while it is trained."""

from torch import Tensor

from lvkam_pyro.guides.memory import ChainMemory
from lvkam_pyro.guides.population import Draw, PopulationGuide
from lvkam_pyro.ladder.adaptation import Start, blend, covariance_of
from lvkam_pyro.ladder.chains import Chains
from lvkam_pyro.ladder.hmc import MALA
from lvkam_pyro.ladder.kernel import GradientKernel
from lvkam_pyro.ladder.schedule import PowerSchedule
from lvkam_pyro.ladder.state import GradientState
from lvkam_pyro.ladder.target import GradientTarget
from lvkam_pyro.options import check_count
from lvkam_pyro.statistics.jackknife import log_mean_exp
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram

_Chains = Chains[GradientState, GradientTarget]

_GAIN = 0.3
"""Of the log step sizes, which follow an acceptance that changes with the parameters."""


class LadderGuide(PopulationGuide):
    r"""A Pyro guide whose draws are the posterior rung of a ladder.

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
        >>> lv.draw_particles(model, guide, torch.ones(20, 5), num_particles=8).latents["z"].shape
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
        memory, target = self.memory_for(program), self.kernel.bind(program)
        temperatures = PowerSchedule()(self.num_temperatures).to(program.like.device)

        def draw(num_draws: int) -> tuple[Tensor, Tensor]:
            check_count("num_particles", num_draws, minimum=2)
            start = None if memory is None else _left_in(memory, target, num_draws)
            if start is None:
                start = self._begin(target, temperatures, num_draws)
            chains = Chains(self.kernel, target, temperatures, start)
            self._move(chains)
            if memory is not None:
                memory.keep(_rows_of(chains, start.covariance))
            self.num_evaluations += target.num_evaluations
            latents = target.constrain(chains.state.position[-1])
            log_joint = program.log_joint(latents)
            log_evidence = _steppingstone(chains.state.log_likelihood, temperatures)
            return program.structure.join(latents, program.num_units), log_joint - log_evidence

        return draw

    def _begin(
        self, target: GradientTarget, temperatures: Tensor, num_chains: int
    ) -> Start[GradientState]:
        """Ladders from the prior, warmed up."""
        start = self.kernel.start(target, temperatures, num_chains)
        chains = Chains(self.kernel, target, temperatures, start, self.num_warmup)
        chains.warm_up()
        return Start(chains.state, chains.adaptation.covariance, chains.adaptation.log_step)

    def _move(self, chains: _Chains) -> None:
        """The steps of an update, by which the step sizes go on to adapt."""
        for _ in range(self.num_steps):
            probability, _ = chains.step()
            chains.adaptation.follow(probability, _GAIN)


def _left_in(
    memory: ChainMemory, target: GradientTarget, num_chains: int
) -> Start[GradientState] | None:
    """The ladders where they were left, at the present parameters; None if there are none."""
    kept = memory.recall()
    if kept is None or kept["position"].shape[2] != num_chains:
        return None
    position = kept["position"].movedim(0, 2).contiguous()
    covariance, log_step = (kept[name].movedim(0, 1) for name in ("covariance", "log_step"))
    return Start(target.state_at(position), covariance, log_step)


def _rows_of(chains: _Chains, covariance: Tensor) -> dict[str, Tensor]:
    """The kept part of ladders, the data first; the covariance goes on to adapt."""
    position = chains.state.position
    return {
        "position": position.movedim(2, 0),
        "covariance": blend(covariance_of(position), 1.0, covariance).movedim(1, 0),
        "log_step": chains.adaptation.log_step.movedim(1, 0),
    }


def _steppingstone(log_likelihood: Tensor, temperatures: Tensor) -> Tensor:
    """The log evidence `(N,)` by the chains `(T, C, N)` at all temperatures but the last."""
    gaps = temperatures.diff()[:, None, None]
    return log_mean_exp(gaps * log_likelihood[:-1], 1).sum(0)
