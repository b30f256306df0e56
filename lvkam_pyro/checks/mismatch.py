"""Whether the posteriors of all data together are the prior, latent by latent."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lvkam_pyro.checks.check import (
    Estimate,
    Finding,
    Severity,
    SignificanceCheck,
    Table,
    quote_p,
    shorten,
    state_p,
)
from lvkam_pyro.checks.pointwise import flatten_latents, latent_names
from lvkam_pyro.checks.samplers import Posterior, draw_posterior
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.program import BoundProgram

_NUM_PRIOR = 20_000
_NUM_BOOTSTRAPS = 4999
_NUM_POINTS = 199
_FEW = 20
_UNUSED = 0.05
_MAX_VALUES = 2**24


@dataclass(frozen=True, eq=False)
class PriorPosteriorMismatch(SignificanceCheck):
    r"""The aggregate posterior beside the prior, for each of the Q latents.

    Attributes:
        names: Of the latents.
        distance: Kolmogorov-Smirnov distance of the distribution functions, `(Q,)`.
        p_value_each: Of each distance, by a bootstrap over the data, `(Q,)`.
        shift: Mean of the aggregate posterior less the prior's, in standard deviations of the
            prior, `(Q,)`; all standard errors are over the data.
        scale: Standard deviation of the aggregate posterior over the prior's, `(Q,)`.
        contraction: One less the mean posterior variance over the prior's, `(Q,)`: 0 for a latent
            of which the data say nothing, near 1 for one that they determine.
        levels: Distribution function of the prior where the aggregate posterior's is known, `(G,)`.
        ecdf: Distribution function of the aggregate posterior there, `(Q, G)`.
        num_data: N.
        source: The source of the posterior draws.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> lv.checks.prior_posterior_mismatch(problem.model, problem.x).names
        ('z[0]',)
    """

    title: ClassVar[str] = "Prior and aggregate posterior"
    question: ClassVar[str] = (
        "Are the posteriors of all data, averaged, the prior? They are, for data of the model."
    )

    names: tuple[str, ...]
    distance: Tensor
    p_value_each: Tensor
    shift: Estimate
    scale: Estimate
    contraction: Estimate
    levels: Tensor
    ecdf: Estimate
    num_data: int
    source: str

    @property
    def p_values(self) -> dict[str, float]:
        """Of each latent's distance."""
        return dict(zip(self.names, self.p_value_each.tolist(), strict=True))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Latents whose prior is not where the data are, and latents without use."""
        found, wrong = [], self.rejected
        if wrong:
            worst = max(wrong, key=lambda i: float(self.distance[i]))
            problem = (
                f"{len(wrong)} of {len(self.names)} latents are elsewhere than their prior; most "
                f"so {self.names[worst]} (distance {float(self.distance[worst]):.2f}, "
                f"{state_p(float(self.p_value_each[worst]))}): shifted by "
                f"{self.shift.at(worst).text('+.2f')} prior sd, its sd "
                f"{self.scale.at(worst).text('.2f')} times the prior's."
            )
            remedy = (
                "Train the prior longer or give it more components; first make sure of the "
                "posterior's draws (weights, calibration)."
            )
            found.append(Finding(Severity.WARNING, self.title, problem, remedy))
        most = self.contraction.value + 2 * self.contraction.error
        unused = (most < _UNUSED).nonzero().flatten()
        if len(unused):
            shown = ", ".join(self.names[i] for i in unused[:8].tolist())
            problem = f"the data say nothing of {len(unused)} latents ({shown}"
            problem += ", ...)." if len(unused) > 8 else ")."
            remedy = "Fewer latents would do, or the generator has not learned to use them."
            found.append(Finding(Severity.NOTE, self.title, problem, remedy))
        return tuple(found)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Few data, training data, draws of what is no posterior."""
        found = [
            "it presumes true posterior draws: a guide that falls back on the prior passes.",
            "a prior learned from these very data fits them better than new ones.",
        ]
        if self.num_data < _FEW:
            found.insert(0, f"the bootstrap's p-values are rough for {self.num_data} data.")
        return tuple(found)

    def table(self) -> Table:
        """Each latent's distance, shift, scale and contraction, the farthest first."""
        header = ["latent", "KS", "p", "shift (prior sd)", "sd / prior's", "contraction"]
        rows = [
            [
                self.names[i],
                f"{float(self.distance[i]):.3f}",
                quote_p(float(self.p_value_each[i])),
                self.shift.at(i).text("+.2f"),
                self.scale.at(i).text(".2f"),
                self.contraction.at(i).text(".2f"),
            ]
            for i in self.distance.argsort(descending=True).tolist()
        ]
        total = ["all (Bonferroni)", "", quote_p(self.p_value), "", "", ""]
        return [*shorten([header, *rows]), total]


def prior_posterior_mismatch(
    model: Program,
    *args: Any,
    posterior: Posterior = None,
    num_draws: int = 1000,
    seed: int = 0,
    **kwargs: Any,
) -> PriorPosteriorMismatch:
    r"""Compare the aggregate posterior with the prior, latent by latent.

    .. math:: \bar q(z) = \frac1N \sum_n p(z \mid x_n) \quad\text{against}\quad p(z), \qquad
              D = \sup_t |\bar Q(t) - P(t)|

    For data of the model both agree on average (:math:`\int p(z|x) p(x) dx = p(z)`). The draws of
    one datum depend on each other, so the p-value of D is not Kolmogorov's, but that of a
    multiplier bootstrap over the data, which are independent: D is compared with
    :math:`\sup_t |\frac1N \sum_n \xi_n (Q_n(t) - \bar Q(t))|`, with standard normal
    :math:`\xi_n`.

    Args:
        model: A Pyro program, or a bound program, which stands for its arguments too.
        *args: The program's arguments, with at least 3 data; held-out ones, if it was trained.
        posterior: Where the draws come from, see `draw_posterior`.
        num_draws: D, of each datum.
        seed: Equal seeds give equal results; the caller's generators are left alone.
        **kwargs: The program's keyword arguments.

    Raises:
        TypeError: If the data are no tensors, or `posterior` is nothing to draw from.
        ValueError: If there are fewer than 3 data.

    References:
        Hoffman, M. D. and Johnson, M. J. (2016). ELBO surgery. Advances in Approximate Bayesian
        Inference, NIPS workshop. Kosorok, M. R. (2008). Introduction to empirical processes and
        semiparametric inference, section 10.1. https://doi.org/10.1007/978-0-387-74978-5.
        Betancourt, M. (2018). Calibrating model-based inferences and decisions (contraction).
        https://arxiv.org/abs/1803.08393

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> far = problem.x.repeat(10, 1) + 3.0
        >>> check = prior_posterior_mismatch(problem.model, far)
        >>> check.findings[0].severity.name
        'WARNING'
    """
    program = bind(model, *args, **kwargs)
    num_data = program.num_units
    draws = draw_posterior(program, posterior=posterior, num_draws=num_draws, seed=seed)
    if num_data < 3:
        raise ValueError(f"Expected at least 3 data, got {num_data}. Pass more.")
    with program.session(seed=seed + 1):
        prior = _draw_prior(program).double()
        values = flatten_latents(draws.latents).double()
        functions = _distribution_functions(values, prior)
        levels = torch.arange(1, _NUM_POINTS + 1).to(functions) / (_NUM_POINTS + 1)
        p_values = _bootstrap(functions - levels)
    levels, ecdf = levels.cpu(), Estimate.of(functions)
    return PriorPosteriorMismatch(
        names=latent_names(draws.latents),
        distance=(ecdf.value - levels).abs().amax(-1),
        p_value_each=p_values,
        shift=Estimate.of((values.mean(0) - prior.mean(0)) / prior.std(0)),
        scale=_scale(values, prior),
        contraction=Estimate.of(1 - values.var(0) / prior.var(0)),
        levels=levels,
        ecdf=ecdf,
        num_data=num_data,
        source=draws.source,
    )


def _draw_prior(program: BoundProgram) -> Tensor:
    """Draws of all latents from the prior, as many for each datum, `(M, Q)`."""
    # So many more than the data that their noise does not count.
    num_draws = math.ceil(max(_NUM_PRIOR, 20 * program.num_units) / program.num_units)
    latents = program.latents_of(program.draw_prior(num_draws))
    return flatten_latents(latents).flatten(0, 1)


def _distribution_functions(values: Tensor, prior: Tensor) -> Tensor:
    """Each datum's at the prior's quantiles, `(N, Q, G)`."""
    index = torch.linspace(0, len(prior) - 1, _NUM_POINTS + 2)[1:-1].round().long()
    quantiles = prior.sort(0).values[index].T.contiguous()
    ordered = values.permute(1, 2, 0).sort(-1).values.contiguous()
    levels = quantiles.expand(len(ordered), -1, -1).contiguous()
    return torch.searchsorted(ordered, levels, right=True).double() / len(values)


def _bootstrap(differences: Tensor) -> Tensor:
    """P-values of the distances from 0 of the mean of functions `(N, Q, G)`, `(Q,)`."""
    num_data, mean = len(differences), differences.mean(0)
    distance = mean.abs().amax(-1)
    # The residuals' own mean is taken off, which costs one of the N.
    residuals = (differences - mean) / (num_data * (num_data - 1)) ** 0.5
    exceeded = torch.zeros_like(distance)
    for some in torch.arange(_NUM_BOOTSTRAPS).split(max(1, _MAX_VALUES // mean.numel())):
        noise = torch.randn(len(some), num_data).to(mean)
        drawn = (noise @ residuals.flatten(1)).view(-1, *mean.shape).abs().amax(-1)
        exceeded += (drawn >= distance).sum(0)
    return ((1 + exceeded) / (_NUM_BOOTSTRAPS + 1)).cpu()


def _scale(values: Tensor, prior: Tensor) -> Estimate:
    """The aggregate posterior's standard deviation over the prior's."""
    centre = values.mean((0, 1))
    square, error = Estimate.of((values - centre).square().mean(0))
    ratio = square.sqrt() / prior.std(0).cpu()
    return Estimate(ratio, ratio * error / (2 * square))
