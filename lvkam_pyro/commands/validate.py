"""`lvkam validate`: every estimator on problems whose evidence is known."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from lvkam_pyro.options import check_count
from lvkam_pyro.problems.report import to_markdown
from lvkam_pyro.problems.suite import estimator_names, load_family, make_estimator, problem_names
from lvkam_pyro.problems.validation import validate
from lvkam_pyro.training.runs.files import write_atomically


def validate_command(
    *,
    families: Sequence[str] = (),
    half: str = "",
    estimators: Sequence[str] = (),
    num_seeds: int = 1,
    float32: bool = False,
    jobs: int = 1,
    out: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> str:
    """Runs estimators on families of problems whose evidence is known exactly.

    Args:
        families: Their names; none: all.
        half: Families of one half alone: choosing or reporting.
        estimators: Their names; none: all.
        num_seeds: How many problems of each family.
        float32: Whether models compute in single precision.
        jobs: How many processes.
        out: A Markdown file to write; None: return the page.
        seed: Of the first problem and run; the others follow it.
        device: Must be the CPU, where the problems' exact answers are.

    Returns:
        The page, or where it is.

    Raises:
        ValueError: If a family, a half or an estimator is unknown, none of the families is of the
            half, or the device is another.

    Example:
        lvkam validate --families banana funnel --estimators Importance SteppingStone
        lvkam validate --half reporting --num-seeds 5 --jobs 4 --out validation.md
    """
    check_count("--num-seeds", num_seeds)
    check_count("--jobs", jobs)
    if device != "cpu":
        raise ValueError(f"Problems live on the CPU; got --device {device}. Leave it out.")
    if out is not None and not out.parent.is_dir():
        raise NotADirectoryError(f"There is no folder {out.parent} for --out {out}. Make it first.")
    validation = validate(
        [load_family(name) for name in _chosen(families, half)],
        [make_estimator(name) for name in estimators or estimator_names()],
        seeds=range(seed, seed + num_seeds),
        dtype=torch.float32 if float32 else torch.float64,
        num_jobs=jobs,
        progress=sys.stderr.isatty(),
    )
    page = to_markdown(validation)
    if out is None:
        return page
    write_atomically(out, page.encode())
    return f"wrote {len(validation.trials)} trials to {out}"


def _chosen(families: Sequence[str], half: str) -> list[str]:
    """The families that are named, or all, as far as they are of the half."""
    own = problem_names(half or None)
    for name in families:
        load_family(name)
    left = [name for name in families or own if name in own]
    if not left:
        raise ValueError(
            f"None of {', '.join(families)} is of the half {half}, which has: {', '.join(own)}. "
            "Leave --half out, or name others."
        )
    return left
