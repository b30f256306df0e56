"""Simulation-based calibration: posterior ranks of latents that are known."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from lvkam_pyro.arviz.draws import predict
from lvkam_pyro.arviz.layout import Layout
from lvkam_pyro.checks.check import (
    Finding,
    Severity,
    SignificanceCheck,
    Table,
    quote_p,
    shorten,
    state_p,
)
from lvkam_pyro.checks.pointwise import flatten_latents, latent_names
from lvkam_pyro.checks.samplers import (
    Posterior,
    PosteriorSampler,
    as_sampler,
    bind_sampler,
    draw_blocks,
)
from lvkam_pyro.options import check_count
from lvkam_pyro.statistics.uniformity import Uniformity, check_uniformity
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.program import BoundProgram

LOG_LIKELIHOOD = "log likelihood"
"""The name of the quantity log p(x|z) among the ranks."""

_MOST_SHARING = 25
"""Data drawn for together: an importance sampler's prior draws are shared by them."""

_MEAN_VARIANCE = 1 / 12
_SQUARE_VARIANCE = 1 / 180
"""Variances of u and of (u - 1/2)^2, for a uniform u."""


@dataclass(frozen=True, eq=False)
class SBC(SignificanceCheck):
    r"""Ranks of the true latents among the posterior draws of data simulated from them.

    Attributes:
        names: Of the K quantities: every latent, and the log likelihood.
        ranks: From 0 to `num_draws`, `(num_simulations, K)`.
        num_draws: Posterior draws of each simulated datum.
        ess: The number of independent draws that these were worth, `(num_simulations,)`.
        sampler: The name of the sampler.
        uniformity: Of each quantity's ranks.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> result = lv.checks.sbc(problem.model, problem.x, num_simulations=100)
        >>> result.names, result.verdict
        (('z[0]', 'log likelihood'), 'nothing found')
    """

    title: ClassVar[str] = "Simulation-based calibration"
    question: ClassVar[str] = (
        "Of data that the model itself makes: do their true latents lie among the posterior's "
        "draws as any other draw?"
    )

    names: tuple[str, ...]
    ranks: Tensor
    num_draws: int
    ess: Tensor
    sampler: str
    uniformity: Uniformity

    @property
    def p_values(self) -> dict[str, float]:
        """The p-value of each quantity's ranks, exact for independent draws."""
        return dict(zip(self.names, self.uniformity.p_value.tolist(), strict=True))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The quantities whose ranks are not uniform."""
        wrong = self.rejected
        if not wrong:
            return ()
        worst = min(wrong, key=lambda i: float(self.uniformity.p_value[i]))
        shown = ", ".join(self.names[i] for i in wrong[:6]) + (" ..." if len(wrong) > 6 else "")
        p_value = state_p(float(self.uniformity.p_value[worst]))
        problem = (
            f"{self.sampler}: the ranks of {len(wrong)} of {len(self.names)} quantities are not "
            f"uniform ({shown}). {self.names[worst]} ({p_value}): "
            f"{describe_shape(self._normalized()[:, worst])}."
        )
        remedy = "Draw more particles, train the guide longer, or use a ladder (Ladder)."
        severity = Severity.ERROR if self._is_independent else Severity.WARNING
        return (Finding(severity, self.title, problem, remedy),)

    @property
    def _is_independent(self) -> bool:
        """Whether draws that copy each other cannot be all that is wrong."""
        return float(self.ess.median()) > self.num_draws / 2

    @property
    def caveats(self) -> tuple[str, ...]:
        """Dependent draws, and the limits of SBC."""
        typical = float(self.ess.median())
        dependent = (
            f"the {self.num_draws} draws of a datum are worth {typical:.0f} independent ones "
            "(median), which alone makes extreme ranks more frequent: with more particles or "
            "fewer draws it would say whether anything else is wrong."
        )
        general = (
            "it judges the sampler on the model's own data, not the model, and not the sampler on "
            "data that the model would hardly make."
        )
        return (dependent, general) if typical < 0.9 * self.num_draws else (general,)

    def table(self) -> Table:
        """Each quantity's p-value, mean rank and spread of ranks, the least uniform first."""
        header = ["quantity", "p", "mean rank (s.e.)", "spread (s.e.)"]
        shape = (scores.tolist() for scores in shape_scores(self._normalized()))
        found = zip(self.p_values.values(), self.names, *shape, strict=True)
        rows = [[name, quote_p(p), f"{a:+.1f}", f"{b:+.1f}"] for p, name, a, b in sorted(found)]
        total = ["all (Bonferroni)", quote_p(self.p_value), "", ""]
        return [*shorten([header, *rows]), total]

    def _normalized(self) -> Tensor:
        return (self.ranks.double() + 0.5) / (self.num_draws + 1)


def sbc(
    model: Program,
    *args: Any,
    posterior: Posterior = None,
    num_simulations: int = 500,
    num_draws: int = 99,
    seed: int = 0,
    **kwargs: Any,
) -> SBC:
    r"""Simulation-based calibration of whatever draws from the posterior.

    .. math:: \tilde z \sim p(z), \quad \tilde x \sim p(x \mid \tilde z), \quad
              z_{1:D} \sim q(z \mid \tilde x), \quad
              r = \#\{d : z_d < \tilde z\} \sim \mathrm{Uniform}\{0..D\}
              \text{ if } q = p(z \mid \tilde x)

    for every latent, and for log p(x|z), which finds a posterior that takes no notice of the data
    (its latents' ranks are uniform too: Modrák et al. 2023). Ties are broken at random.

    Args:
        model: A Pyro program whose one observed site is one of its arguments; or a bound program,
            which stands for its arguments too. Where its data cannot be taken apart, whole data
            sets are simulated, one after the other.
        *args: The program's arguments: data whose shape the simulated ones have, and whose values
            do not matter; covariates, which are kept.
        posterior: The sampler to check: a guide (its own draws, unweighted), an `ImportanceSampler`
            (its weighted draws), a `Ladder`; None is importance sampling from the prior.
        num_simulations: Data to simulate, or data sets where the data share latents.
        num_draws: D. Below the effective sample size, so that the draws differ.
        seed: Equal seeds give equal results; the caller's generators are left alone.
        **kwargs: The program's keyword arguments.

    Raises:
        TypeError: If the data are no tensors, or `posterior` cannot draw for new data.
        ValueError: If a number is too small, the model cannot simulate such data, or a simulated
            datum has no particle of positive weight.

    References:
        Talts, S. et al. (2018). Validating Bayesian inference algorithms with simulation-based
        calibration. https://arxiv.org/abs/1804.06788. Säilynoja, T., Bürkner, P.-C. and Vehtari,
        A. (2022). https://arxiv.org/abs/2103.10522. Modrák, M. et al. (2023). Simulation-based
        calibration checking for Bayesian computation: the choice of test quantities shapes
        sensitivity. https://arxiv.org/abs/2211.02383

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> prior = lv.PriorGuide(problem.model)  # No posterior: it has not seen the data.
        >>> [finding.severity.name for finding in sbc(
        ...     problem.model, problem.x, posterior=prior).findings]
        ['ERROR']
    """
    check_count("num_simulations", num_simulations, minimum=10)
    check_count("num_draws", num_draws, minimum=9)
    sampler = as_sampler(posterior)
    alone = bind(model, *args, **kwargs)
    program = bind_sampler(alone, sampler)
    if alone.access is not None and program.access is None:
        raise ValueError(
            f"The guide draws for no other data: they cannot be taken apart, since "
            f"{program.refusal}. Use an amortised guide, or a ladder."
        )
    templates = _templates(program, num_simulations)
    layout = Layout.of(templates[0])
    data = _find_data(templates[0], layout)
    with program.session(sampler.guide, seed=seed):
        simulations = (_simulate(each, layout, data) for each in templates)
        parts = [_rank(*simulation, sampler, num_draws) for simulation in simulations]
    ranks, ess = (torch.cat(part) for part in zip(*parts, strict=True))
    points = torch.arange(1, num_draws + 1, dtype=torch.float64) / (num_draws + 1)
    return SBC(
        names=(*latent_names(_some_latents(program)), LOG_LIKELIHOOD),
        ranks=ranks,
        num_draws=num_draws,
        ess=ess,
        sampler=sampler.name,
        uniformity=check_uniformity((ranks.double() + 1) / (num_draws + 1), points=points),
    )


def shape_scores(values: Tensor) -> tuple[Tensor, Tensor]:
    r"""How far mean and spread are from those of uniform values, in standard errors.

    .. math:: \frac{\bar u - 1/2}{\sqrt{1/12 N}}, \qquad
              \frac{\overline{(u - 1/2)^2} - 1/12}{\sqrt{1/180 N}}

    Args:
        values: Independent values between 0 and 1, `(N, *)`.

    Returns:
        Both scores, `(*)` each: standard normal for many uniform values.

    Example:
        >>> location, spread = shape_scores(torch.full((100,), 0.5))
        >>> float(location), round(float(spread), 1)
        (0.0, -11.2)
    """
    num_values = len(values)
    location = (values.mean(0) - 0.5) / (_MEAN_VARIANCE / num_values) ** 0.5
    square = (values - 0.5).square().mean(0)
    spread = (square - _MEAN_VARIANCE) / (_SQUARE_VARIANCE / num_values) ** 0.5
    return location, spread


def describe_shape(values: Tensor) -> str:
    """The fault of a distribution among whose draws the truth has these PIT values.

    Args:
        values: PIT values of the truth, between 0 (below all draws) and 1 (above all), `(N,)`.

    Returns:
        A part of a sentence.

    Example:
        >>> describe_shape(torch.full((100,), 0.5))
        'it is too wide (the truth is too often in its middle)'
    """
    location, spread = (float(score) for score in shape_scores(values))
    if abs(spread) >= abs(location):
        narrow = "it is too narrow (the truth is too often outside of it)"
        return narrow if spread > 0 else "it is too wide (the truth is too often in its middle)"
    side = ("low", "above") if location > 0 else ("high", "below")
    return f"it lies too {side[0]} (the truth is too often {side[1]} it)"


def _templates(program: BoundProgram, num_simulations: int) -> list[BoundProgram]:
    """The program on as many data as are to be simulated, or again and again on its own."""
    if program.takes_any:
        return [program.rows(torch.arange(num_simulations) % program.num_units)]
    return [program] * -(-num_simulations // program.num_units)


def _some_latents(program: BoundProgram) -> dict[str, Tensor]:
    """Values of each latent site of one unit, for their shapes."""
    shapes = {s.name: (1, 1, *s.inner_shape, *s.event_shape) for s in program.structure.latents}
    return {name: torch.empty(shape) for name, shape in shapes.items()}


def _simulate(
    program: BoundProgram, layout: Layout, data: Tensor
) -> tuple[BoundProgram, dict[str, Tensor]]:
    """The program on data that it makes itself, and their continuous latents."""
    truth = predict(program, layout, 1)
    (observed,) = truth.observations.values()
    arguments = program.arguments.substitute(data, observed[0].reshape(data.shape))
    latents = {site.name: truth.latents[site.name] for site in program.structure.latents}
    return replace(program, arguments=arguments), latents


def _find_data(template: BoundProgram, layout: Layout) -> Tensor:
    """The argument that is the model's one observed site, where its draws can stand."""
    observed = list(layout.observations.values())
    for tensor in template.arguments.tensors if len(observed) == 1 else ():
        same_size = tensor.numel() == observed[0].numel()
        if same_size and bool((observed[0].reshape(tensor.shape) == tensor).all()):
            return tensor
    shapes = [tuple(tensor.shape) for tensor in template.arguments.tensors]
    raise ValueError(
        f"Expected a model whose one observed site is its data, one of its arguments of shapes "
        f"{shapes}, got the sites {sorted(layout.observations)}. Simulated data cannot be put "
        "together from them."
    )


def _rank(
    program: BoundProgram,
    truth: Mapping[str, Tensor],
    sampler: PosteriorSampler,
    num_draws: int,
) -> tuple[Tensor, Tensor]:
    """Ranks `(N, K)` and effective numbers of draws `(N,)`, for some data at a time."""
    ranks, sizes = [], []
    data = torch.arange(program.num_units)
    for index in data.split(_MOST_SHARING) if program.takes_any else [data]:
        block = program.rows(index) if program.takes_any else program
        latents, ess = draw_blocks(sampler, block, num_draws)
        # The truth first: it is one more draw, and all are evaluated by one run of the model.
        joined = {name: torch.cat([truth[name][:, index], latents[name]]) for name in truth}
        log_likelihood = block.at(joined)[1]
        values = torch.cat([flatten_latents(joined), log_likelihood.unsqueeze(-1)], -1)
        ranks.append(_rank_first(values))
        sizes.append(ess.double().cpu())
    return torch.cat(ranks), torch.cat(sizes)


def _rank_first(values: Tensor) -> Tensor:
    """The rank of the first of `(1 + D, N, K)` among the others, ties at random."""
    below = (values[1:] < values[:1]).sum(0)
    ties = (values[1:] == values[:1]).sum(0)
    return (below + (torch.rand(ties.shape).to(values) * (ties + 1)).long()).cpu()
