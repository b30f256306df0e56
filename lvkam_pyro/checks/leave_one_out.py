"""LOO-PIT: the PIT value of each value of a datum in its prediction from the others."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from scipy.stats import t as student_t
from torch import Tensor

from lvkam_pyro.arviz.draws import PosteriorDraws
from lvkam_pyro.arviz.layout import Layout
from lvkam_pyro.checks.check import (
    SIGNIFICANCE,
    Estimate,
    Finding,
    Severity,
    SignificanceCheck,
    Table,
    bonferroni,
    quote_p,
    state_p,
)
from lvkam_pyro.checks.pointwise import (
    draw_values,
    observed_values,
    pointwise_log_likelihood,
)
from lvkam_pyro.checks.samplers import Posterior, draw_posterior
from lvkam_pyro.statistics.uniformity import Uniformity, check_uniformity
from lvkam_pyro.statistics.weights import MAX_PARETO_K, smooth_weights
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.structure import Unit

_FEW = 20
_MOST_UNRELIABLE = 0.5
_UNIFORM_VARIANCE = 1 / 12


@dataclass(frozen=True, eq=False)
class LOOPIT(SignificanceCheck):
    r"""The PIT value of each observed value in its prediction from the others.

    Attributes:
        pit: The PIT values, uniform on (0, 1) for the true model, `(N, K)`.
        standard_error: Of Monte Carlo, `(N, K)`.
        pareto_k: Of the leave-one-out weights, `(N, K)`; 0 where there are none.
        uniformity: Of each of the K values over the data.
        source: The source of the posterior draws.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_10")
        >>> lv.checks.loo_pit(problem.model, problem.x).pit.shape
        torch.Size([4, 10])
    """

    title: ClassVar[str] = "LOO-PIT"
    question: ClassVar[str] = (
        "Are the PIT values of a datum's values, each predicted from its other values, uniform?"
    )

    pit: Tensor
    standard_error: Tensor
    pareto_k: Tensor
    uniformity: Uniformity
    source: str

    @property
    def mean(self) -> Estimate:
        """The mean PIT value and its standard error over the data: 0.5 for unbiased predictions."""
        return Estimate.of(self.pit.mean(1))

    @property
    def dispersion(self) -> Estimate:
        """The PIT values' mean square about 1/2, times 12, and its standard error.

        It is 1 for right predictions, more for too narrow ones, less for too wide ones.
        """
        return Estimate.of((self.pit - 0.5).square().mean(1) / _UNIFORM_VARIANCE)

    @property
    def p_values(self) -> dict[str, float]:
        """Of mean and dispersion (Student's t over the data), and of the least uniform value."""
        return {
            "mean": _student(self.mean, 0.5, len(self.pit)),
            "dispersion": _student(self.dispersion, 1.0, len(self.pit)),
            "shape": bonferroni(*self.uniformity.p_value.tolist()),
        }

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Predictions that are biased, too narrow or too wide."""
        if self.p_value >= SIGNIFICANCE:
            return ()
        describe = {"mean": self._bias, "dispersion": self._width, "shape": self._shape}
        p_values = self.p_values
        problem, remedy = describe[min(p_values, key=lambda name: p_values[name])]()
        problem = f"{problem} ({state_p(self.p_value)})."
        if self._unreliable.double().mean() <= _MOST_UNRELIABLE:
            return (Finding(Severity.WARNING, self.title, problem, remedy),)
        problem = f"{problem} Most of them rest on weights that are not reliable."
        remedy = "Take draws that are closer to the posterior before the model is blamed."
        return (Finding(Severity.NOTE, self.title, problem, remedy),)

    @property
    def _unreliable(self) -> Tensor:
        """The predictions that rest on weights without a usable variance, `(N, K)`."""
        return self.pareto_k > MAX_PARETO_K

    def _bias(self) -> tuple[str, str]:
        side = "high" if self.mean.value < 0.5 else "low"
        found = f"predictions are too {side}: the mean PIT value is {self.mean.text('.3f')}"
        return found, "Train longer, or let the generator say more."

    def _width(self) -> tuple[str, str]:
        side, remedy = (
            ("narrow", "Raise the likelihood's scale, or check the posterior's draws first.")
            if self.dispersion.value > 1
            else (
                "wide",
                "Lower the likelihood's scale (train it), or give the model more latents.",
            )
        )
        found = f"dispersion {self.dispersion.text('.2f')}, 1 if right"
        return f"predictions are too {side} ({found})", remedy

    def _shape(self) -> tuple[str, str]:
        worst, count = int(self.uniformity.p_value.argmin()), self.pit.shape[1]
        found = f"the PIT values of value {worst} of {count} are not uniform"
        return found, "Give the likelihood another form, or a scale each output."

    @property
    def caveats(self) -> tuple[str, ...]:
        """Unreliable weights, few data, noise of Monte Carlo, data trained on."""
        bad = int(self._unreliable.sum())
        noise = float(self.standard_error.median())
        found = []
        if bad:
            found.append(
                f"{bad} of {self.pit.numel()} predictions rest on weights with Pareto k above "
                f"{MAX_PARETO_K} (worst {float(self.pareto_k.max()):.2f}) and are not reliable."
            )
        if len(self.pit) < _FEW:
            found.append(f"{len(self.pit)} data are few for the normal approximation behind p.")
        if noise > 0.05:
            found.append(
                f"each PIT value is only known to ± {noise:.2f} (median), so take more draws."
            )
        found.append("data that the model was trained on look better predicted than they are.")
        return tuple(found)

    def table(self) -> Table:
        """Mean and dispersion with their errors, the least uniform value, and the weights."""
        quoted = {name: quote_p(p_value) for name, p_value in self.p_values.items()}
        worst = f"{float(self.pareto_k.max()):.2f}"
        return [
            ["quantity", "value", "if right", "p"],
            ["mean PIT value", self.mean.text(".3f"), "0.5", quoted["mean"]],
            ["dispersion", self.dispersion.text(".2f"), "1", quoted["dispersion"]],
            [f"shape, each of {self.pit.shape[1]}", "", "", quoted["shape"]],
            ["all (Bonferroni)", "", "", quote_p(self.p_value)],
            ["worst Pareto k", worst, f"< {MAX_PARETO_K}", ""],
        ]


def loo_pit(
    model: Program,
    *args: Any,
    posterior: Posterior = None,
    num_draws: int = 1000,
    seed: int = 0,
    **kwargs: Any,
) -> LOOPIT:
    r"""Leave-one-out probability integral transforms, value by value.

    .. math:: u_{no} = P(\tilde x_{no} \le x_{no} \mid x_{n,-o}), \qquad
              p(\tilde x_{no} \mid x_{n,-o}) = \int p(\tilde x_{no} \mid z) \,
              p(z \mid x_{n,-o}) \, dz

    With fixed parameters and latents of each datum's own, leaving out a whole datum says nothing
    of its latents; so one value of it is left out. The posterior without it is that with it,
    weighted by :math:`1 / p(x_{no} | z)`, Pareto smoothed. A datum of one value alone is predicted
    from the prior, without weights. Where the data share latents, a value is predicted from all
    others. Values that are not continuous are placed at random between the smaller and the larger
    draws, so that their PIT values are uniform as well.

    PIT values of different data are independent, those of one datum are not: p-values are of the
    data's means (Student's t), and of each value over the data (`check_uniformity`), joined by
    Bonferroni.

    Args:
        model: A Pyro program whose observed values are independent given the latents, or a bound
            program, which stands for its arguments too.
        *args: The program's arguments; held-out data, if it was trained.
        posterior: Where the draws come from, see `draw_posterior`.
        num_draws: D.
        seed: Equal seeds give equal results; the caller's generators are left alone.
        **kwargs: The program's keyword arguments.

    Raises:
        TypeError: If the data are no tensors, or `posterior` is nothing to draw from.
        ValueError: If the observed values depend on each other given the latents.

    References:
        Gelman, A. et al. (2013). Bayesian data analysis, 3rd ed., section 6.3. Vehtari, A., Gelman,
        A. and Gabry, J. (2017). Practical Bayesian model evaluation using leave-one-out
        cross-validation, equation 3. https://arxiv.org/abs/1507.04544. Czado, C., Gneiting, T. and
        Held, L. (2009). Predictive model assessment for count data.
        https://doi.org/10.1111/j.1541-0420.2009.01191.x

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_10")
        >>> sampler = lv.checks.ImportanceSampler(particles=20_000)
        >>> result = loo_pit(problem.model, problem.x, posterior=sampler)
        >>> 0 < float(result.pit.min()) and float(result.pit.max()) < 1
        True
    """
    program = bind(model, *args, **kwargs)
    draws = draw_posterior(program, posterior=posterior, num_draws=num_draws, seed=seed)
    layout = Layout.of(program)
    values = observed_values(layout)
    with program.session(seed=seed + 1):
        if program.unit is Unit.DATUM and values.shape[1] == 1:
            parts = [_transform_alone(program, layout, values, draws.num_draws)]
        else:
            parts = _transform_all(program, draws, values.shape[1])
    pit, error, k = (torch.cat(part) for part in zip(*parts, strict=True))
    return LOOPIT(pit, error, k, check_uniformity(pit), draws.source)


def _transform_all(
    program: BoundProgram, draws: PosteriorDraws, num_values: int
) -> list[tuple[Tensor, Tensor, Tensor]]:
    parts, start = [], 0
    for block in program.blocks(4 * draws.num_draws * num_values):
        units = slice(start, start + block.num_units)
        latents = {name: value[:, units] for name, value in draws.latents.items()}
        parts.append(_transform(block, latents))
        start += block.num_units
    return parts


def _transform(program: BoundProgram, latents: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """PIT values, their errors and Pareto k, `(N, K)` each, from posterior draws."""
    layout = Layout.of(program)
    values = observed_values(layout)
    latents |= program.draw_discrete(len(next(iter(latents.values()))), latents)
    log_likelihood = pointwise_log_likelihood(program, layout, latents)
    replicated = draw_values(program, layout, len(log_likelihood), latents)
    smoothed, k = smooth_weights(-log_likelihood.double().flatten(1))
    weights = smoothed.softmax(0).view(log_likelihood.shape)
    below = _share_below(replicated, values)
    pit = (weights * below).sum(0)
    error = (weights * (below - pit)).square().sum(0).sqrt()
    return pit.clamp(0, 1).cpu(), error.cpu(), k.view(values.shape).cpu()


def _transform_alone(
    program: BoundProgram, layout: Layout, values: Tensor, num_draws: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The same for one value a datum, which nothing but the prior predicts."""
    below = _share_below(draw_values(program, layout, num_draws), values)
    error = below.std(0) / num_draws**0.5
    return below.mean(0).cpu(), error.cpu(), torch.zeros_like(error).cpu()


def _share_below(draws: Tensor, values: Tensor) -> Tensor:
    """One for a draw below the value, zero above, and for equal ones a share drawn at random."""
    share = torch.rand(values.shape).to(values)
    return (draws < values).double() + share * (draws == values).double()


def _student(found: Estimate, expected: float, num_data: int) -> float:
    if num_data < 2 or not found.error > 0:
        return 1.0
    distance = abs(float(found.value) - expected) / float(found.error)
    return float(2 * student_t.sf(distance, num_data - 1))
