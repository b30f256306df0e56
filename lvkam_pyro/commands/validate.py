"""`lvkam validate`: every estimator on problems whose evidence is known."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lvkam_pyro.options import check_count
from lvkam_pyro.problems.report import to_markdown
from lvkam_pyro.problems.suite import estimator_names, load_problem, make_estimator, problem_names
from lvkam_pyro.problems.validation import validate
from lvkam_pyro.training.runs.files import write_atomically


def validate_command(
    *,
    problems: Sequence[str] = (),
    estimators: Sequence[str] = (),
    num_seeds: int = 1,
    out: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> str:
    """Runs estimators on problems whose evidence is known exactly.

    Args:
        problems: Their names; none: all.
        estimators: Their names; none: all.
        num_seeds: How many runs of each.
        out: A Markdown file to write; None: return the page.
        seed: Of the first run; the others follow it.
        device: Must be the CPU, where the problems' exact answers are.

    Returns:
        The page, or where it is.

    Raises:
        ValueError: If a problem or an estimator is unknown, or the device is another.

    Example:
        lvkam validate --problems banana funnel --estimators Importance SteppingStone
        lvkam validate --num-seeds 3 --out validation.md
    """
    check_count("--num-seeds", num_seeds)
    if device != "cpu":
        raise ValueError(f"Problems live on the CPU; got --device {device}. Leave it out.")
    if out is not None and not out.parent.is_dir():
        raise NotADirectoryError(f"There is no folder {out.parent} for --out {out}. Make it first.")
    validation = validate(
        [load_problem(name) for name in problems or problem_names()],
        [make_estimator(name) for name in estimators or estimator_names()],
        seeds=range(seed, seed + num_seeds),
        progress=sys.stderr.isatty(),
    )
    page = to_markdown(validation)
    if out is None:
        return page
    write_atomically(out, page.encode())
    return f"wrote {len(validation.trials)} trials to {out}"
