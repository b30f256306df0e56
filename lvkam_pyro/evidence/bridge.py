"""Evidence by bridge sampling, from draws of the posterior."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from scipy.stats import t as student_t
from torch import Tensor

from lvkam_pyro.evidence.estimator import Estimator, with_fisher_gradient
from lvkam_pyro.evidence.evidence import Evidence, to_double
from lvkam_pyro.evidence.proposals import MixtureProposal, Proposal, swapped
from lvkam_pyro.evidence.verdict import MAX_RHAT, MIN_OVERLAP, Gate, common_failure, nan_gate
from lvkam_pyro.ladder.ladder import Ladder
from lvkam_pyro.options import check_count
from lvkam_pyro.statistics.bridge import BridgeRatio
from lvkam_pyro.statistics.convergence import chain_effective_sample_size, chain_rhat
from lvkam_pyro.statistics.jackknife import jackknife_error
from lvkam_pyro.statistics.weights import pareto_k
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.draws import read_draws
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.session import draw_seed
from lvkam_pyro.tracing.structure import ProgramStructure
from lvkam_pyro.tracing.unconstrained import UnconstrainedProgram, check_ladder

NUM_BLOCKS = 20
"""Blocks of neighbouring draws: the replicates of the standard error."""

_MIN_EFFECTIVE = 2.5 * NUM_BLOCKS
"""Independent draws below which blocks are too much alike for an error."""

_MAX_PARETO_K = 1.0
"""The terms of the bridge are bounded: they fail where neither ratio has so much as a mean."""

_GAP_RATE = 1e-7
"""The chance that halves which agree fail, at one unit."""


class Bridge(Estimator):
    r"""Bridge sampling: the evidence from draws of the posterior that one has already.

    .. math:: p(x) = \frac{\overline{h(u_j) \, p(x, u_j)}}{\overline{h(u_i) \, q(u_i)}}, \quad
        h = \frac{1}{s_1 p(x, u) + s_2 p(x) q(u)}

    over draws :math:`u_j` of a proposal q and :math:`u_i` of the posterior, in unconstrained
    coordinates with their Jacobian (Meng and Wong 1996; Gronau et al. 2017,
    https://doi.org/10.1016/j.jmp.2017.09.005). The proposal is fitted to one half of each chain and
    meets the draws of the other half, then the halves change places; both enter one equation (see
    `BridgeRatio`), with the number of independent draws in the place of their number. The draws
    have to be the posterior's: of an approximation the result is wrong, and nothing here sees it.

    Without draws a `Ladder` makes them, whose chains cross modes, serve each datum by itself, and
    take a second where NUTS takes a minute. `Bridge().estimate(model, x, draws=mcmc)` takes those
    of Pyro's NUTS.

    Standard errors by the jackknife over 20 blocks of neighbouring draws and of proposals.
    Diagnostics, `(U,)` each: `overlap` of posterior and proposal; `pareto_k_draws` and
    `pareto_k_proposals` of both ratios; `halves_gap`, in nats, of the two fits' estimates, and its
    standard error `halves_gap_error`; `impossible_draws`, a count; `ess` and `rhat`, those of the
    worst coordinate of the draws (of one chain: between its halves). The verdict is unreliable
    where the overlap is below 0.03, both k exceed 1, the halves disagree beyond chance, ESS < 50,
    R-hat > 1.05, or the model's density at a draw is zero.

    Args:
        num_proposals: Draws of the proposals.
        proposal: What is fitted: `MixtureProposal()`, `NormalProposal()`, `WarpProposal()`.
        ladder: What draws where no draws are given; None is `Ladder()`.

    Raises:
        TypeError: If the count is no integer.
        ValueError: If it is below 40.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from pyro.infer import MCMC, NUTS
        >>> def model(x):
        ...     mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("x", dist.Normal(mean, 1.0), obs=x)
        >>> x = torch.tensor([0.5, 1.5])
        >>> mcmc = MCMC(NUTS(model), num_samples=200, warmup_steps=50, disable_progbar=True)
        >>> mcmc.run(x)
        >>> evidence = Bridge().estimate(model, x, draws=mcmc)
        >>> exact = dist.MultivariateNormal(torch.zeros(2), torch.ones(2, 2) + torch.eye(2))
        >>> abs(evidence.total - float(exact.log_prob(x))) < 5 * evidence.total_standard_error
        True
    """

    name = "Bridge"
    remedy = "Pass more draws, of several chains (draws=), or use MultistateBAR."

    def __init__(
        self,
        num_proposals: int = 10_000,
        *,
        proposal: Proposal | None = None,
        ladder: Ladder | None = None,
    ) -> None:
        super().__init__()
        self.num_proposals = check_count("num_proposals", num_proposals, minimum=2 * NUM_BLOCKS)
        self.proposal = MixtureProposal() if proposal is None else proposal
        self.ladder = Ladder() if ladder is None else ladder

    def estimate(
        self,
        model: Program,
        *args: Any,
        guide: Program | None = None,
        seed: int = 0,
        draws: object = None,
        **kwargs: Any,
    ) -> Evidence:
        """Estimate the log evidence with standard errors and a verdict.

        Args:
            model: A Pyro program, or a bound program, which stands for its arguments too.
            *args: The program's arguments.
            guide: Left aside.
            seed: Equal seeds give equal results; the caller's generators are left alone.
            draws: The posterior's: a `pyro.infer.MCMC` that was run; a mapping from site to
                `(draws, *shape)` of one chain or `(chains, draws, *shape)`; an object of ArviZ. In
                the latents' own space, with the shapes that the sites have in the program. None:
                those of the ladder.
            **kwargs: The program's keyword arguments; where one is called `draws`, pass
                `lv.bind(model, ...)` as the model.

        Returns:
            The evidence.

        Raises:
            TypeError: If data or draws are of no type that is known.
            ValueError: If `bind` refuses the model; a latent cannot be moved on the real line, or
                has a mask; or draws lack a site, have another shape, are fewer than 40, not finite
                or outside of the support.
        """
        program = bind(model, *args, **kwargs)
        if draws is None:
            return super().estimate(program, guide=guide, seed=seed)
        check_ladder(program.structure)
        _check_unmasked(program.structure)
        with program.session(seed=seed):
            evidence = self.estimate_from(program, read_draws(draws, program), seed=seed)
        return replace(evidence, unit=program.unit.value)

    def estimate_bound(self, program: BoundProgram, guide: Program | None, seed: int) -> Evidence:
        """Estimate the log evidence from the draws of the ladder; see `Estimator.estimate`."""
        samples = self.ladder.sample(program, seed=seed)
        evidence = self.estimate_from(program, samples.latents, seed=seed)
        count = evidence.num_likelihood_evaluations + samples.num_likelihood_evaluations
        return replace(evidence, num_likelihood_evaluations=count)

    def log_evidence(self, program: BoundProgram, guide: Program | None) -> tuple[Tensor, float]:
        """The total, whose gradient is that of the joint density at the ladder's draws."""
        samples = self.ladder.sample(program, seed=draw_seed())
        total = self.estimate_from(program, samples.latents, seed=draw_seed()).total
        flat = {name: value.flatten(0, 1) for name, value in samples.latents.items()}
        return with_fisher_gradient(total, program, flat), samples.data_scale

    def estimate_from(
        self, program: BoundProgram, latents: Mapping[str, Tensor], *, seed: int
    ) -> Evidence:
        """The evidence of a program from posterior draws of its latents.

        Args:
            program: The program.
            latents: Site name to draws `(D, C, U, *inner plates, *event)`.
            seed: Of the proposals.
        """
        _check_number(latents)
        with program.session(seed=seed):
            parts = [self._summarize(*block) for block in self._blocks(program, latents)]
        summary = {n: to_double(program.join([part[n] for part in parts])) for n in parts[0]}
        return self.conclude(
            program,
            summary.pop("log_evidence"),
            summary.pop("leave_one_out"),
            gates=_gates(summary),
            num_evaluations=int(summary.pop("num_evaluations").amax()),
            diagnostics=summary,
        )

    def _blocks(
        self, program: BoundProgram, latents: Mapping[str, Tensor]
    ) -> Iterator[tuple[BoundProgram, dict[str, Tensor]]]:
        """The program and the draws in blocks of data whose proposals fit the memory."""
        start = 0
        for block in program.blocks(self.num_proposals * program.structure.num_coordinates):
            units = torch.arange(start, start + block.num_units) % program.num_units
            yield block, {n: v.index_select(2, units.to(v.device)) for n, v in latents.items()}
            start += block.num_units

    def _summarize(self, program: BoundProgram, latents: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The estimates and diagnostics of one block of data."""
        target = UnconstrainedProgram(program)
        shape = next(iter(latents.values())).shape[:2]
        flat = {name: value.flatten(0, 1) for name, value in latents.items()}
        position = target.positions(flat).unflatten(0, shape)
        size = chain_effective_sample_size(position.double())
        pairs = [self._log_ratios(target, *pair) for pair in swapped(_halves(position))]
        first, second = (torch.cat(samples) for samples in zip(*pairs, strict=True))
        return {
            **_solve(pairs, size.median(-1).values.clamp_min(1.0) / self.num_proposals),
            "pareto_k_draws": pareto_k(-first),
            "pareto_k_proposals": pareto_k(second),
            "impossible_draws": first.isneginf().sum(0),
            "ess": size.amin(-1),
            "rhat": _rhat(position.double()).amax(-1),
            "nan_share": target.nan_share.to(first),
            "num_evaluations": torch.full_like(first[0], target.num_evaluations),
        }

    def _log_ratios(
        self, target: UnconstrainedProgram, fitted_to: Tensor, held_out: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The log ratios at the draws that were held out, and at the proposal's."""
        fitted = self.proposal.fit(fitted_to)
        proposed = fitted.density.sample((self.num_proposals // 2,)).to(held_out)
        return fitted.log_ratio(target, held_out), fitted.log_ratio(target, proposed)


def _halves(position: Tensor) -> list[Tensor]:
    """The first and the second half of all chains `(D, C, U, Q)`, `(D / 2 * C, U, Q)` each.

    They go chain after chain, so that neighbours in a block are neighbours in a chain.
    """
    middle = len(position) // 2
    return [half.transpose(0, 1).flatten(0, 1) for half in (position[:middle], position[middle:])]


def _solve(pairs: Sequence[tuple[Tensor, Tensor]], odds: Tensor) -> dict[str, Tensor]:
    """The estimate from the log ratios of both fits together, and how far apart each one's is."""
    first, second = zip(*pairs, strict=True)
    whole = BridgeRatio.of(first, second, odds.log(), num_blocks=NUM_BLOCKS)
    one, other = (
        BridgeRatio.of(pair[:1], pair[1:], odds.log(), num_blocks=NUM_BLOCKS) for pair in pairs
    )
    return {
        "log_evidence": whole.log_ratio,
        "leave_one_out": whole.leave_one_out,
        "overlap": whole.overlap,
        "halves_gap": (one.log_ratio - other.log_ratio).abs(),
        "halves_gap_error": jackknife_error(one.leave_one_out - other.leave_one_out),
    }


def _check_number(latents: Mapping[str, Tensor]) -> None:
    """Every half fills the blocks."""
    name, values = next(iter(latents.items()))
    num_draws, num_chains = values.shape[:2]
    if num_draws // 2 * num_chains < NUM_BLOCKS:
        raise ValueError(
            f"Expected at least {2 * NUM_BLOCKS} draws of each site, got {num_draws} of "
            f"{num_chains} chains of '{name}'. Run the sampler for longer."
        )


def _rhat(position: Tensor) -> Tensor:
    """R-hat of draws `(D, C, ...)` between the chains, of one chain between its halves."""
    if position.shape[1] == 1:
        half = len(position) // 2
        position = torch.cat([position[:half], position[-half:]], 1)
    return chain_rhat(position)


def _gates(summary: Mapping[str, Tensor]) -> list[Gate]:
    """The conditions on the draws and on what they have in common with the proposals."""
    scores = summary["halves_gap"] / summary["halves_gap_error"]
    limit = round(float(student_t.isf(_GAP_RATE / 2, NUM_BLOCKS - 1)), 1)
    k = torch.minimum(summary["pareto_k_draws"], summary["pareto_k_proposals"])
    rhat = Gate.above("R-hat", summary["rhat"], MAX_RHAT)
    return [
        Gate.above("draws where the model's density is zero", summary["impossible_draws"], 0),
        nan_gate(summary["nan_share"]),
        Gate.below("an overlap of posterior and proposal", summary["overlap"], MIN_OVERLAP),
        Gate.above("Pareto k of both ratios", k, _MAX_PARETO_K),
        Gate.above("a gap between the halves' estimates in standard errors", scores, limit),
        Gate.below("an effective number of draws", summary["ess"], _MIN_EFFECTIVE),
        rhat,
        common_failure(rhat),
    ]


def _check_unmasked(structure: ProgramStructure) -> None:
    """No mask is on a latent: of what it hides a sampler's draws need not be the prior's."""
    for site in structure.latents:
        if site.masked:
            raise ValueError(
                f"The latent site '{site.name}' has a mask around it, and what it hides is drawn "
                "by samplers as they like. Use Auto, or Bridge without draws."
            )
