"""A validation as a Markdown page."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from lvkam_pyro.problems.calibration import Calibration
from lvkam_pyro.problems.problem import Problem
from lvkam_pyro.problems.validation import Validation, ValidationTrial

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
_SUMMARY = (
    "estimator", "reliable", "but beyond 4 s.e.", "not reliable, or a bound", "refused", "which",
)  # fmt: skip
_SUMMARY_RULE = "| --- | ---: | ---: | ---: | ---: | --- |"
_CALIBRATION = """Calibration: all pairs of a datum and a seed that are called reliable and have a
Monte Carlo error, on the problems without a declared blind spot. Of exact standard errors the
z-scores' root mean square is 1 (1.07 with 16 replicates), and 95 % of the 95 % intervals hold the
exact answer.
"""
_CALIBRATION_COLUMNS = ("estimator", "pairs", "RMS of z", "in the 95 % interval")
_CALIBRATION_RULE = "| --- | ---: | ---: | ---: |"
_COLUMNS = ("estimator", "error", "s.e.", "z", "RMSE", "cost", "verdict", "seconds")
_RULE = "| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: |"


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
    head = [_HEAD.format(counts=counts), "Problems by verdict:", "", *_summarize(trials)]
    head = [*head, _CALIBRATION, *_calibrate(trials)]
    return "\n".join([*head, *sections])


def _section(trials: Sequence[ValidationTrial]) -> list[str]:
    done = [trial for trial in trials if not trial.is_refused]
    refused = [trial for trial in trials if trial.is_refused]
    return [
        *_introduce(trials[0].problem),
        *([_row(_COLUMNS), _RULE] if done else []),
        *(_row(_cells(trial)) for trial in done),
        *([""] if done else []),
        *_refusals(refused),
    ]


def _refusals(refused: Iterable[ValidationTrial]) -> list[str]:
    """A sentence for each reason, with all whose reason it is."""
    reasons: dict[str, list[str]] = {}
    for trial in refused:
        reasons.setdefault(trial.refusal, []).append(trial.estimator)
    return [f"Refused by {', '.join(names)}: {reason}\n" for reason, names in reasons.items()]


def _summarize(trials: Sequence[ValidationTrial]) -> list[str]:
    """A line an estimator: on how many problems its verdict is right, wrong or missing."""
    names = dict.fromkeys(trial.estimator for trial in trials)
    lines = [_row(_SUMMARY), _SUMMARY_RULE]
    for name in names:
        own = [trial for trial in trials if trial.estimator == name]
        sure = [trial for trial in own if trial.is_reliable]
        refused = [trial for trial in own if trial.is_refused]
        wrong = [trial.problem.name for trial in sure if abs(trial.z) > _MAX_Z]
        flagged = len(own) - len(sure) - len(refused)
        counts = (len(sure), len(wrong), flagged, len(refused))
        lines.append(_row([name, *map(str, counts), ", ".join(wrong)]))
    return [*lines, ""]


def _calibrate(trials: Sequence[ValidationTrial]) -> list[str]:
    """A line an estimator that has a Monte Carlo error."""
    lines = [_row(_CALIBRATION_COLUMNS), _CALIBRATION_RULE]
    for name in dict.fromkeys(trial.estimator for trial in trials):
        pooled = Calibration.of([trial for trial in trials if trial.estimator == name])
        if pooled.num_pairs:
            values = (f"{pooled.root_mean_square_z:.2f}", f"{100 * pooled.coverage:.1f} %")
            lines.append(_row([name, str(pooled.num_pairs), *values]))
    return [*lines, ""]


def _introduce(problem: Problem) -> list[str]:
    title = f"## {problem.title[0].upper()}{problem.title[1:]} (`{problem.name}`)"
    known = f"Exact: {problem.source}; {float(problem.log_evidence.mean()):.4f} nats per datum."
    if problem.blind_spot:
        known = f"{known} **Blind spot:** {problem.blind_spot}, and nothing says so."
    return [title, "", known, ""]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(trial: ValidationTrial) -> tuple[str, ...]:
    return (
        trial.estimator,
        f"{trial.error:+.2g}",
        f"{trial.standard_error:.2g}",
        f"{trial.z:+.1f}" if abs(trial.z) < 1000 else f"{trial.z:+.0e}",
        f"{trial.root_mean_square_error:.2g}",
        f"{trial.cost:.2g}",
        trial.verdict,
        f"{trial.seconds:.1f}",
    )
