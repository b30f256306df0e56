"""Pyro's own NUTS as a guide: the yardstick that the other guides are held against."""

import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

from lvkam_pyro.guides.memory import ChainMemory
from lvkam_pyro.guides.population import Draw, PopulationGuide
from lvkam_pyro.options import check_count
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.structure import LatentSite, ProgramStructure
from lvkam_pyro.tracing.unconstrained import check_ladder


class NUTSGuide(PopulationGuide):
    r"""A Pyro guide whose draws are one chain of Pyro's `NUTS` over the latents of all data.

    As anyone would run it: the model as it is, its latents `(N, Q)` as one vector of all data, one
    step size and one diagonal mass matrix, learned in each run's warm-up (Hoffman and Gelman 2014,
    https://arxiv.org/abs/1111.4246). In a training with full batches that is a Monte Carlo
    expectation-maximisation (Wei and Tanner 1990, https://doi.org/10.1080/01621459.1990.10474930)
    of one M-step an update, and the chain goes on where the last update left it.

    A yardstick, for small data: the narrowest posterior of any datum sets the step of all, the
    cost of a step grows with the data and so does the number of steps. One chain stays in the mode
    of each datum in which it begins: with a prior of several modes its draws are wrong, without a
    divergence. There is no estimate of the evidence: all weights of a datum are the mean of
    :math:`\log p(x_n, z)` over its draws, so that the loss is minus the expected complete log
    likelihood, and its gradient Fisher's.

    Args:
        model: The Pyro model.
        num_warmup: Steps of a run that adapt, and are dropped.
        max_tree_depth: A step takes at most 2 to this power gradients.

    Attributes:
        memory: Where each datum stands, see `ChainMemory`.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is too small; when called, if the model's latents cannot be moved.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 5), lv.NormalLikelihood(5))
        >>> guide = NUTSGuide(model, num_warmup=5, max_tree_depth=3)
        >>> lv.draw_particles(model, guide, torch.rand(20, 5), num_particles=4).latents["z"].shape
        torch.Size([4, 20, 2])
    """

    def __init__(self, model: Program, *, num_warmup: int = 20, max_tree_depth: int = 6) -> None:
        super().__init__(model)
        self.num_warmup = check_count("num_warmup", num_warmup, minimum=0)
        self.max_tree_depth = check_count("max_tree_depth", max_tree_depth)
        self.memory = ChainMemory()

    def prepare(self, program: BoundProgram) -> Draw:
        """The sampler at the model's present parameters; see `PopulationGuide.prepare`."""
        check_ladder(program.structure)

        def draw(num_draws: int) -> tuple[Tensor, Tensor]:
            latents = self._run(program, num_draws)
            log_joint = program.log_joint(latents)
            return program.structure.join(latents, program.num_units), log_joint - log_joint.mean(0)

        return draw

    def _run(self, program: BoundProgram, num_draws: int) -> dict[str, Tensor]:
        """The chain's draws by the sites' names, `(S, N, *event)` each."""
        memory = self.memory_for(program)
        structure, before = program.structure, program.runs.model
        kernel = NUTS(program, max_tree_depth=self.max_tree_depth)
        chain = MCMC(
            kernel,
            num_samples=num_draws,
            warmup_steps=self.num_warmup,
            initial_params=None if memory is None else _left_in(memory, structure),
            disable_progbar=True,
        )
        with torch.enable_grad():
            chain.run()
        self.num_evaluations += program.runs.model - before
        draws = chain.get_samples()
        if memory is not None:
            memory.keep(
                {site.name: _end(draws, kernel, structure, site) for site in structure.latents}
            )
        return {
            site.name: structure.to_particles(draws[site.name], site) for site in structure.latents
        }


def _left_in(memory: ChainMemory, structure: ProgramStructure) -> dict[str, Tensor] | None:
    """The last state of the chain, as Pyro takes it; None if it has yet to begin."""
    kept = memory.recall()
    if kept is None:
        return None
    return {
        site.name: structure.to_pyro(kept[site.name][None], site)[0] for site in structure.latents
    }


def _end(
    draws: dict[str, Tensor], kernel: NUTS, structure: ProgramStructure, site: LatentSite
) -> Tensor:
    """The last draw of a site, unconstrained, `(N, *event)`."""
    last = draws[site.name][-1:]
    transform = kernel.transforms.get(site.name)
    free: Tensor = last if transform is None else transform(last)
    return structure.to_particles(free, site)[0]
