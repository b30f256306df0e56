"""A validation as a Markdown page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Self

import torch
from torch import Tensor

from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.problems.problem import Problem
from lvkam_pyro.problems.validation import ROUNDING, Validation, ValidationTrial

_LEVEL = 0.95


@dataclass(frozen=True)
class Calibration:
    r"""Standard errors of one estimator against the errors that it made.

    .. math:: z_{ns} = \frac{\log \hat p_s(x_n) - \log p(x_n)}{\text{s.e.}_{ns}}

    over all pairs of a datum n and a seed s whose verdict is reliable and whose Monte Carlo error
    exceeds the known deterministic ones (discretisation, rounding): those where it is all there is
    to know. Problems with a declared blind spot, which no standard error can show, and bounds are
    left out.

    Attributes:
        num_pairs: Pairs (n, s).
        root_mean_square_z: 1 for exact standard errors, 1.07 for those of 16 replicates (Student's
            t with 15 degrees of freedom); not a number without pairs.
        coverage: The share of pairs whose 95 % interval holds the exact answer.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> estimator = lv.evidence.MixtureImportance(1024, num_pilots=64)
        >>> trials = lv.problems.validate([problem], [estimator], seeds=range(4), progress=False)
        >>> Calibration.of(tuple(trials)).num_pairs > 10
        True
    """

    num_pairs: int
    root_mean_square_z: float
    coverage: float

    @classmethod
    def of(cls, trials: Sequence[ValidationTrial]) -> Self:
        """Pool the trials of one estimator."""
        runs = [
            _judge(trial.problem, result)
            for trial in trials
            if not (trial.problem.blind_spot or trial.is_lower_bound)
            for result in trial.results
        ]
        z = torch.cat([torch.empty(0), *(z for z, _ in runs)])
        covered = torch.cat([torch.empty(0), *(covered for _, covered in runs)])
        return cls(len(z), float(z.square().mean().sqrt()), float(covered.double().mean()))


def _judge(problem: Problem, result: Evidence) -> tuple[Tensor, Tensor]:
    """The z-scores of the data that count, and whether their intervals hold the exact answer."""
    exact = problem.log_evidence
    known = ROUNDING * exact.abs()
    if result.discretization_error is not None:
        known = known + result.discretization_error
    counts = ~result.verdict.unreliable & (result.standard_error > known)
    low, high = result.interval(_LEVEL)
    z = (result.log_evidence - exact) / result.standard_error
    return z[counts], ((low <= exact) & (exact <= high))[counts]


_HEAD = """# Validation of the estimators

`lvkam validate` runs every estimator, at its default size, on problems whose evidence is known
exactly, and wrote this page. No estimator has a guide: where one would be used, the proposal is the
prior.

- error: estimate less exact answer, mean over {counts}, in nats;
- s.e.: the standard error of that mean, as the estimator reports it;
- z: the error beyond the reported discretisation error, in standard errors: within 4 where an
  estimate can be trusted;
- RMSE: root mean square error over data and seeds, in nats;
- cost: RMSE² times likelihood evaluations per datum, which does not depend on how long one lets it
  run; those of look-ahead, grids and Gibbs sweeps are look-ups in tables, not runs of the model;
- verdict: the estimator's own, which knows nothing of the exact answer;
- seconds: of one estimate on one thread, ladders included; a guide to magnitudes only.
"""
_MAX_Z = 4.0
_CALIBRATION = """Calibration: all pairs of a datum and a seed that are called reliable and have a
Monte Carlo error, on the problems without a declared blind spot. Of exact standard errors the
z-scores' root mean square is 1 (1.07 with 16 replicates), and 95 % of the 95 % intervals hold the
exact answer.
"""
_WORDS = ("estimator", "verdict", "which")
"""The columns whose cells begin at the left."""


def to_markdown(validation: Validation) -> str:
    """The page: a table for each problem, and why estimators refuse it.

    Args:
        validation: The trials.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> estimators = [lv.evidence.Lookahead(64)]
        >>> validation = lv.problems.validate([problem], estimators, progress=False)
        >>> to_markdown(validation).splitlines()[0]
        '# Validation of the estimators'
    """
    trials = validation.trials
    num_seeds = max((len(trial.results) for trial in trials), default=0)
    num_data = sorted({trial.problem.num_data for trial in trials})
    counts = f"{', '.join(map(str, num_data))} data and {num_seeds} seed{'s' * (num_seeds != 1)}"
    sections = [
        "\n".join(_section(list(group))) for _, group in groupby(trials, lambda t: t.problem.name)
    ]
    methods = [
        (name, [trial for trial in trials if trial.estimator == name])
        for name in dict.fromkeys(trial.estimator for trial in trials)
    ]
    summary = _table([_summarize(name, own) for name, own in methods])
    pooled = [(name, Calibration.of(own)) for name, own in methods]
    calibration = _table([_calibrate(name, each) for name, each in pooled if each.num_pairs])
    head = [_HEAD.format(counts=counts), "Problems by verdict:", "", *summary]
    return "\n".join([*head, _CALIBRATION, *calibration, *sections])


def _section(trials: Sequence[ValidationTrial]) -> list[str]:
    done = [_cells(trial) for trial in trials if not trial.is_refused]
    refused = [trial for trial in trials if trial.is_refused]
    return [*_introduce(trials[0].problem), *(_table(done) if done else []), *_refusals(refused)]


def _table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The lines of a Markdown table, and an empty one."""
    names = list(rows[0]) if rows else []
    rule = ["---" if name in _WORDS else "---:" for name in names]
    lines = [names, rule, *(row.values() for row in rows)]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]


def _refusals(refused: Iterable[ValidationTrial]) -> list[str]:
    """A sentence for each reason, with all whose reason it is."""
    reasons: dict[str, list[str]] = {}
    for trial in refused:
        reasons.setdefault(trial.refusal, []).append(trial.estimator)
    return [f"Refused by {', '.join(names)}: {reason}\n" for reason, names in reasons.items()]


def _summarize(name: str, trials: Sequence[ValidationTrial]) -> dict[str, str]:
    """On how many problems an estimator's verdict is right, wrong or missing."""
    sure = [trial for trial in trials if trial.is_reliable]
    wrong = [trial.problem.name for trial in sure if abs(trial.z) > _MAX_Z]
    refused = sum(trial.is_refused for trial in trials)
    return {
        "estimator": name,
        "reliable": str(len(sure)),
        "but beyond 4 s.e.": str(len(wrong)),
        "not reliable, or a bound": str(len(trials) - len(sure) - refused),
        "refused": str(refused),
        "which": ", ".join(wrong),
    }


def _calibrate(name: str, pooled: Calibration) -> dict[str, str]:
    return {
        "estimator": name,
        "pairs": str(pooled.num_pairs),
        "RMS of z": f"{pooled.root_mean_square_z:.2f}",
        "in the 95 % interval": f"{100 * pooled.coverage:.1f} %",
    }


def _introduce(problem: Problem) -> list[str]:
    title = f"## {problem.title[0].upper()}{problem.title[1:]} (`{problem.name}`)"
    known = f"Exact: {problem.source}; {float(problem.log_evidence.mean()):.4f} nats per datum."
    if problem.blind_spot:
        known = f"{known} **Blind spot:** {problem.blind_spot}, and nothing says so."
    return [title, "", known, ""]


def _cells(trial: ValidationTrial) -> dict[str, str]:
    return {
        "estimator": trial.estimator,
        "error": f"{trial.error:+.2g}",
        "s.e.": f"{trial.standard_error:.2g}",
        "z": f"{trial.z:+.1f}" if abs(trial.z) < 1000 else f"{trial.z:+.0e}",
        "RMSE": f"{trial.root_mean_square_error:.2g}",
        "cost": f"{trial.cost:.2g}",
        "verdict": trial.verdict,
        "seconds": f"{trial.seconds:.1f}",
    }
