"""Whether data that the model makes look like those that it was given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lvkam_pyro.arviz.layout import Layout
from lvkam_pyro.checks.check import Finding, Severity, SignificanceCheck, Table, quote_p, state_p
from lvkam_pyro.checks.discrepancies import CORRELATION, DISCREPANCIES, Discrepancy
from lvkam_pyro.checks.pointwise import draw_values, observed_values
from lvkam_pyro.checks.samplers import Posterior, draw_posterior
from lvkam_pyro.options import check_count
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.program import BoundProgram

_MAX_VALUES = 2**23
"""Values drawn at once (32 MB in single precision)."""


@dataclass(frozen=True, eq=False)
class PredictiveCheck(SignificanceCheck):
    """Statistics of the data beside those of data sets that the model draws.

    Attributes:
        discrepancies: The K statistics.
        observed: Of the data, `(K,)`.
        replicated: Of the model's data sets, `(D, K)`.
        num_data: N.
        source: The source of the posterior draws; empty where latents are new, as the data.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_10")
        >>> check = lv.checks.prior_predictive_check(problem.model, problem.x, num_draws=200)
        >>> check.names[:2], check.replicated.shape
        (('mean', 'standard deviation'), torch.Size([200, 6]))
    """

    title: ClassVar[str] = "Predictive check"
    question: ClassVar[str] = "Could these data be one of the data sets that the model makes?"
    meaning: ClassVar[str] = (
        "p-values are exact for data that the model was not trained on, and too large for those "
        "that it was."
    )

    discrepancies: tuple[Discrepancy, ...]
    observed: Tensor
    replicated: Tensor
    num_data: int
    source: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the statistics."""
        return tuple(item.name for item in self.discrepancies)

    @property
    def p_values(self) -> dict[str, float]:
        r"""Two-sided p-values, :math:`2 \min_\pm (1 + \#\{T_d \gtrless T\}) / (D + 1)`."""
        low = (1 + (self.replicated <= self.observed).sum(0)) / (len(self.replicated) + 1)
        high = (1 + (self.replicated >= self.observed).sum(0)) / (len(self.replicated) + 1)
        values = (2 * torch.minimum(low, high)).clamp(max=1)
        return dict(zip(self.names, values.tolist(), strict=True))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The statistics in which the model's data sets are others."""
        wrong = self.rejected
        if not wrong:
            return ()
        mean, spread = self.replicated.mean(0), self.replicated.std(0)
        worst = max(wrong, key=lambda i: float((self.observed - mean).abs()[i] / spread[i]))
        names = ", ".join(self.names[i] for i in wrong)
        problem = (
            f"{len(wrong)} of {len(self.names)} statistics of the data are not those of the "
            f"model's data ({names}); most so the {self.names[worst]}, "
            f"{float(self.observed[worst]):.4g}, of the model's {float(mean[worst]):.4g} ± "
            f"{float(spread[worst]):.2g} ({state_p(self.p_value)})."
        )
        remedy = self.discrepancies[worst].remedy
        return (Finding(Severity.WARNING, self.title, problem, remedy),)

    @property
    def caveats(self) -> tuple[str, ...]:
        """The meaning of the p-values."""
        count = len(self.replicated)
        least = 2 / (count + 1)
        return (
            self.meaning,
            f"no p-value can be below {least:.2g}, the resolution of {count} data sets.",
        )

    def table(self) -> Table:
        """Each statistic of the data and of the model's data sets."""
        header = ["statistic", "data", "model ± sd", "p"]
        columns = (self.observed, self.replicated.mean(0), self.replicated.std(0))
        values = torch.stack(columns, -1).tolist()
        rows = [
            [name, f"{value:.4g}", f"{mean:.4g} ± {spread:.2g}", quote_p(p_value)]
            for (name, p_value), (value, mean, spread) in zip(
                self.p_values.items(), values, strict=True
            )
        ]
        return [header, *rows, ["all (Bonferroni)", "", "", quote_p(self.p_value)]]


class PosteriorPredictiveCheck(PredictiveCheck):
    """A predictive check whose latents are those of the data: given them, could the rest be so?

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_10")
        >>> lv.checks.posterior_predictive_check(problem.model, problem.x, num_draws=50).title
        'Posterior predictive check'
    """

    title: ClassVar[str] = "Posterior predictive check"
    question: ClassVar[str] = "Could these data be redrawn from their own latents?"
    meaning: ClassVar[str] = (
        "latents were drawn given these very data, which are used twice: p-values are drawn to "
        "1/2, so that a small one means more than it says and a large one less."
    )


class PriorPredictiveCheck(PredictiveCheck):
    """A predictive check whose latents are new: could the data be draws of the model?

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_10")
        >>> lv.checks.prior_predictive_check(problem.model, problem.x, num_draws=50).title
        'Prior predictive check'
    """

    title: ClassVar[str] = "Prior predictive check"


def prior_predictive_check(
    model: Program,
    *args: Any,
    discrepancies: Sequence[Discrepancy] = DISCREPANCIES,
    num_draws: int = 2000,
    seed: int = 0,
    **kwargs: Any,
) -> PriorPredictiveCheck:
    r"""Compare the data with whole data sets that the model makes, new latents and all.

    .. math:: x^{(d)}_n \sim \int p(x \mid z) \, p(z) \, dz, \qquad
              p = 2 \min_\pm \frac{1 + \#\{d : T(x^{(d)}) \gtrless T(x)\}}{D + 1}

    Under the model the data are one more draw, so that each p-value is exact: at most a with a
    chance of at most a. It judges prior and generator together.

    Args:
        model: A Pyro program, or a bound program, which stands for its arguments too.
        *args: The program's arguments, with at least 3 data; held-out ones, if it was trained.
        discrepancies: The statistics to compare.
        num_draws: D, data sets to draw.
        seed: Equal seeds give equal results; the caller's generators are left alone.
        **kwargs: The program's keyword arguments.

    Raises:
        TypeError: If the data are no tensors.
        ValueError: If there are fewer than 3 data, no statistic, or no observed site.

    References:
        Box, G. E. P. (1980). Sampling and Bayes' inference in scientific modelling and robustness.
        https://doi.org/10.2307/2982063

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_10")
        >>> check = prior_predictive_check(problem.model, 9 * problem.x, num_draws=2000)
        >>> check.findings[0].severity.name
        'WARNING'
    """
    check_count("num_draws", num_draws, minimum=10)
    program = bind(model, *args, **kwargs)
    with program.session(seed=seed):
        return PriorPredictiveCheck(*_compare(program, discrepancies, num_draws))


def posterior_predictive_check(
    model: Program,
    *args: Any,
    posterior: Posterior = None,
    discrepancies: Sequence[Discrepancy] = DISCREPANCIES,
    num_draws: int = 2000,
    seed: int = 0,
    **kwargs: Any,
) -> PosteriorPredictiveCheck:
    r"""Compare the data with data sets redrawn from each datum's own latents.

    .. math:: x^{(d)}_n \sim p(x \mid z^{(d)}_n), \qquad z^{(d)}_n \sim p(z \mid x_n)

    It judges generator and likelihood; the prior, not at all. Its p-values are conservative, for
    the data are used twice (Meng 1994): near 1/2 more often than those of `prior_predictive_check`.

    Args:
        model: A Pyro program, or a bound program, which stands for its arguments too.
        *args: The program's arguments, with at least 3 data.
        posterior: Where the latents come from, see `draw_posterior`.
        discrepancies: The statistics to compare.
        num_draws: D, data sets to draw.
        seed: Equal seeds give equal results; the caller's generators are left alone.
        **kwargs: The program's keyword arguments.

    Raises:
        TypeError: If the data are no tensors, or `posterior` is nothing to draw from.
        ValueError: If there are fewer than 3 data, no statistic, or no observed site.

    References:
        Gelman, A., Meng, X.-L. and Stern, H. (1996). Posterior predictive assessment of model
        fitness via realized discrepancies. Statistica Sinica 6, 733-807. Meng, X.-L. (1994).
        Posterior predictive p-values. https://doi.org/10.1214/aos/1176325622

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_10")
        >>> posterior_predictive_check(problem.model, problem.x, num_draws=200).num_data
        4
    """
    program = bind(model, *args, **kwargs)
    draws = draw_posterior(program, posterior=posterior, num_draws=num_draws, seed=seed)
    with program.session(seed=seed + 1):
        found = _compare(program, discrepancies, draws.num_draws, draws.latents)
    return PosteriorPredictiveCheck(*found, draws.source)


def _compare(
    program: BoundProgram,
    discrepancies: Sequence[Discrepancy],
    num_draws: int,
    latents: Mapping[str, Tensor] | None = None,
) -> tuple[tuple[Discrepancy, ...], Tensor, Tensor, int]:
    """The statistics that say something, of the data and of data sets drawn, and the data's number.

    Data sets are drawn from the prior, or given latents `(D, U, ...)`.
    """
    layout = Layout.of(program)
    values = observed_values(layout)
    if len(values) < 3 or not discrepancies:
        raise ValueError(
            f"Expected at least 3 data and one statistic, got {len(values)} and "
            f"{len(discrepancies)}."
        )
    # One value a datum has no correlation.
    chosen = tuple(one for one in discrepancies if values.shape[1] > 1 or one is not CORRELATION)
    replicated = []
    for rows in torch.arange(num_draws).split(max(1, _MAX_VALUES // values.numel())):
        some = None if latents is None else {k: v[rows] for k, v in latents.items()}
        drawn = draw_values(program, layout, len(rows), some)
        replicated.append(_sum_up(drawn, chosen))
    observed = _sum_up(values.unsqueeze(0), chosen)[0]
    return chosen, observed, torch.cat(replicated), len(values)


def _sum_up(data: Tensor, discrepancies: Sequence[Discrepancy]) -> Tensor:
    """The statistics of data sets `(D, N, K)`, `(D, statistics)`."""
    data = data.double()
    return torch.stack([item.compute(data) for item in discrepancies], -1).cpu()
