"""The evidence of runs by recipes, kept in a folder recipe by recipe."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from torch import Tensor, nn

from lvkam_pyro.commands.interrupts import (
    Interrupted,
    raise_interrupt,
    remembered_interrupts,
)
from lvkam_pyro.commands.pictures import save_evidence_pictures
from lvkam_pyro.commands.setup import Run
from lvkam_pyro.comparison.compare import compare_evidence
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.evidence.ladder import LadderEstimator
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.session import seeded_rng
from lvkam_pyro.training.batches import evenly_spaced
from lvkam_pyro.training.recipe import Recipe
from lvkam_pyro.training.runs.files import replace_file, write_atomically
from lvkam_pyro.training.runs.run_folder import RunFolder


@dataclass(frozen=True)
class Job:
    """The estimators of one recipe on one run.

    Attributes:
        model: The model's name in the table.
        recipe_name: The recipe's name in the table.
        run: The run.
        recipe: The recipe.
        guide: The proposal of its estimators.
    """

    model: str
    recipe_name: str
    run: Run
    recipe: Recipe
    guide: Program | None

    def estimate(self, x: Tensor, seed: int) -> EvidenceComparison:
        """A row an estimator, of the model by the recipe."""
        comparison = compare_evidence(
            {self.model: self.run.fit.model},
            x,
            self.recipe.estimators,
            guide=self.guide,
            seed=seed,
            progress=sys.stderr.isatty(),
        )
        return EvidenceComparison(
            tuple(replace(row, recipe=self.recipe_name) for row in comparison)
        )


def make_jobs(runs: Mapping[str, Run], recipes: Mapping[str, Recipe]) -> list[Job]:
    """All recipes on all runs.

    All guides are made here: one that was not fitted is refused before an estimator has run for
    minutes.

    Args:
        runs: Runs by name.
        recipes: Recipes by name.

    Raises:
        ValueError: If a recipe needs a guide that a run has not.
    """
    return [
        Job(model, name, run, recipe, _guide(run, recipe))
        for model, run in runs.items()
        for name, recipe in recipes.items()
    ]


def estimate_jobs(
    jobs: Sequence[Job], x: Tensor, seed: int, keep: Callable[[EvidenceComparison], str]
) -> EvidenceComparison:
    """One comparison of all jobs.

    Args:
        jobs: The jobs.
        x: The data.
        seed: Of the estimators.
        keep: Called with the rows so far after each job; says where they are kept.

    Raises:
        Interrupted: On Ctrl-C or SIGTERM, with what is kept.
    """
    finished: list[EvidenceComparison] = []
    kept = "No estimator had finished."
    with remembered_interrupts() as interrupts:
        try:
            for job in jobs:
                finished.append(job.estimate(x, seed))
                names = ", ".join(_names(jobs)[: len(finished)])
                kept = f"{keep(_join(finished))}: {names}."
                if interrupts:
                    raise_interrupt(interrupts[-1])
        except KeyboardInterrupt as interrupt:
            raise Interrupted(kept) from interrupt
    return _join(finished)


def keep_comparison(folder: RunFolder, comparison: EvidenceComparison) -> str:
    """Writes `evidence.csv`, `.json` and `.tex`, the forest plot, and a ladder's curve if any.

    Args:
        folder: Where; it is made if need be.
        comparison: The rows.

    Returns:
        Where it is kept, as the beginning of a sentence.

    Raises:
        OSError: If a file cannot be written.
    """
    folder.create()
    replace_file(folder.evidence(".csv"), comparison.to_csv)
    replace_file(folder.evidence(".json"), comparison.to_json)
    write_atomically(folder.evidence(".tex"), comparison.to_latex().encode())
    save_evidence_pictures(folder, comparison)
    return f"Kept in {folder.evidence('.csv')}"


def keep_nothing(comparison: EvidenceComparison) -> str:
    """Says that the rows of several models are kept nowhere without a folder for them."""
    return f"Nothing is kept without --out; {len(comparison.rows)} results were finished"


def _names(jobs: Sequence[Job]) -> list[str]:
    """The recipes, with the models where there are several."""
    if len({job.model for job in jobs}) == 1:
        return [job.recipe_name for job in jobs]
    return [f"{job.model} by {job.recipe_name}" for job in jobs]


def _join(finished: Sequence[EvidenceComparison]) -> EvidenceComparison:
    return reduce(EvidenceComparison.merge, finished)


def _guide(run: Run, recipe: Recipe) -> Program | None:
    """The recipe's guide, or the run's fitted one where the recipe's would have to be fitted.

    Ladders begin at any fitted guide, and need none.
    """
    if all(isinstance(estimator, LadderEstimator) for estimator in recipe.estimators):
        fitted = run.fit.guide
        has_parameters = isinstance(fitted, nn.Module) and list(fitted.parameters())
        return fitted if has_parameters else None
    with seeded_rng(0, run.x):
        guide = recipe.build_guide(run.fit.model, evenly_spaced(run.x))
    if not (isinstance(guide, nn.Module) and list(guide.parameters())):
        return guide
    if type(guide) is not type(run.fit.guide):
        raise ValueError(
            f"The recipe {recipe.name} weighs with a guide that must be fitted "
            f"({type(guide).__name__}), and the run of the recipe {run.fit.recipe.name} in "
            f"{run.folder.path} has no such guide. Fit with --inference {recipe.name}, or leave "
            "this recipe out."
        )
    return run.fit.guide
