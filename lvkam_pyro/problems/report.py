"""A validation as a Markdown page."""

from collections.abc import Iterable, Mapping, Sequence
from math import isnan

from lvkam_pyro.problems.calibration import Calibration
from lvkam_pyro.problems.family import Family
from lvkam_pyro.problems.trial import SilentError, ValidationTrial, done
from lvkam_pyro.problems.validation import Validation

_HEAD = """# Validation of the estimators

`lvkam validate` runs every estimator, at its default size, on families of problems whose evidence
is known exactly, and wrote this page. A seed draws a problem of each family (its dimension, noise,
modes and data) and is that of the run ({counts}). No estimator has a guide: where one would be
used, the proposal is the prior. Limits of gates are chosen on the families of one half and reported
on the other.

- values: over problems and data;
- reliable: the share that the estimator trusts; its verdict knows nothing of the exact answer;
- silent: values that are trusted and wrong, by more than 4 standard errors on top of the reported
  discretisation error, and by more than 0.01 nats;
- false alarms: values that are not trusted and right, within 2.5 standard errors and 0.1 nats;
- RMS of z: of errors in standard errors, of the trusted values whose Monte Carlo error is above
  their known ones, silent errors apart: 1 for exact standard errors, 1.07 for those of 16
  replicates;
- in 95 %: the share of those, silent errors among them, whose 95 % interval holds the exact answer;
- RMSE: root mean square error of the trusted values, in nats;
- cost: RMSE² times likelihood evaluations per datum, which does not depend on how long one lets it
  run, the median over problems; evaluations of look-ahead, grids and Gibbs sweeps are look-ups in
  tables, not runs of the model;
- seconds: of one run on one thread, ladders included; a guide to magnitudes only.

All families without a declared blind spot:
"""
_WORDS = ("estimator", "family", "method")
"""The columns whose cells begin at the left."""


def to_markdown(validation: Validation) -> str:
    """The page: all families in one table, every silent error, and a table a family.

    Args:
        validation: The trials.

    Example:
        >>> import lvkam_pyro as lv
        >>> family = lv.problems.load_family("linear_gaussian_1")
        >>> validation = lv.problems.validate([family], [lv.evidence.Lookahead(64)], progress=False)
        >>> to_markdown(validation).splitlines()[0]
        '# Validation of the estimators'
    """
    num_seeds = len({trial.seed for trial in validation})
    counts = f"families: {len(validation.families)}, seeds: {num_seeds}"
    pooled = [_cells(name, validation.select(name)) for name in validation.estimators]
    wrong = [_wrong_cells(name, each) for name, each in _silent(validation)]
    sections = [line for family in validation.families for line in _section(validation, family)]
    return "\n".join(
        [
            _HEAD.format(counts=counts),
            *_table(pooled),
            "Silent errors:" if wrong else "There is no silent error.\n",
            *(["", *_table(wrong)] if wrong else []),
            *sections,
        ]
    )


def _silent(validation: Validation) -> list[tuple[str, SilentError]]:
    return [
        (name, each) for name in validation.estimators for each in validation.silent_errors(name)
    ]


def _section(validation: Validation, family: Family) -> list[str]:
    chosen = {name: validation.select(name, family.name) for name in validation.estimators}
    return [
        *_introduce(family),
        *_table([_cells(name, own) for name, own in chosen.items() if done(own)]),
        *_refusals(trial for own in chosen.values() for trial in own),
    ]


def _introduce(family: Family) -> list[str]:
    title = f"## {family.title[0].upper()}{family.title[1:]} (`{family.name}`)"
    known = f"Exact: {family.source}; half: {family.half}."
    if family.blind_spot:
        known = f"{known} **Blind spot:** {family.blind_spot}, and nothing says so."
    return [title, "", known, ""]


def _table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The lines of a Markdown table, and an empty one; none without rows."""
    if not rows:
        return []
    names = list(rows[0])
    rule = ["---" if name in _WORDS else "---:" for name in names]
    lines = [names, rule, *(row.values() for row in rows)]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]


def _refusals(trials: Iterable[ValidationTrial]) -> list[str]:
    """A sentence for each reason, with all whose reason it is."""
    reasons: dict[str, dict[str, None]] = {}
    for trial in trials:
        if trial.refusal:
            reasons.setdefault(trial.refusal, {})[trial.estimator] = None
    return [f"Refused by {', '.join(names)}: {reason}\n" for reason, names in reasons.items()]


def _cells(estimator: str, trials: Sequence[ValidationTrial]) -> dict[str, str]:
    pooled = Calibration.of(trials)
    return {
        "estimator": estimator,
        "values": str(pooled.num_estimates),
        "reliable": _number("{:.0f} %", 100 * pooled.share_reliable),
        "silent": str(pooled.num_silent),
        "false alarms": str(pooled.num_false_alarms),
        "RMS of z": _number("{:.2f}", pooled.root_mean_square_z),
        "in 95 %": _number("{:.1f} %", 100 * pooled.coverage),
        "RMSE": _number("{:.2g}", pooled.root_mean_square_error),
        "cost": _number("{:.2g}", pooled.cost),
        "seconds": _number("{:.1f}", pooled.seconds),
    }


def _number(form: str, value: float) -> str:
    """Nothing where there is no number."""
    return "" if isnan(value) else form.format(value)


def _wrong_cells(estimator: str, wrong: SilentError) -> dict[str, str]:
    return {
        "estimator": estimator,
        "family": wrong.family,
        "seed": str(wrong.seed),
        "datum": str(wrong.datum),
        "value": f"{wrong.value:.4f}",
        "s.e.": f"{wrong.standard_error:.2g}",
        "exact": f"{wrong.exact:.4f}",
        "error": f"{wrong.error:+.2g}",
        "method": wrong.method,
    }
