"""The evidence of runs by recipes, kept recipe by recipe."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from torch import Tensor, nn

from lvkam_pyro.commands.interrupts import (
    Interrupted,
    raise_interrupt,
    remembered_interrupts,
)
from lvkam_pyro.commands.setup import Run
from lvkam_pyro.comparison.compare import compare_evidence
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.comparison.row import EvidenceRow
from lvkam_pyro.evidence.ladder import LadderEstimator
from lvkam_pyro.tracing.seeding import seeded_rng
from lvkam_pyro.training.large_data import evenly_spaced
from lvkam_pyro.training.recipe import Model, Recipe


@dataclass(frozen=True)
class Job:
    """The estimators of one recipe on one run.

    Attributes:
        model: The run's name in the table.
        recipe_name: The recipe's name in the table.
        run: The run.
        recipe: The recipe.
        guide: The proposal of its estimators.
    """

    model: str
    recipe_name: str
    run: Run
    recipe: Recipe
    guide: Model | None

    def estimate(self, x: Tensor, seed: int) -> EvidenceComparison:
        """A row an estimator, under the name of the recipe."""
        return compare_evidence(
            {self.recipe_name: self.run.fit.model},
            x,
            self.recipe.estimators,
            guide=self.guide,
            seed=seed,
            progress=sys.stderr.isatty(),
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
    """One comparison of all jobs: under the recipes' names for one run, the models' for several.

    Args:
        jobs: What to estimate.
        x: The data.
        seed: Of the estimators.
        keep: Called with what is there after each job; says where it is kept.

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
                kept = f"{keep(_join(jobs, finished))}: {names}."
                if interrupts:
                    raise_interrupt(interrupts[-1])
        except KeyboardInterrupt as interrupt:
            raise Interrupted(kept) from interrupt
    return _join(jobs, finished)


def _names(jobs: Sequence[Job]) -> list[str]:
    """The recipes, with the models where there are several."""
    if len({job.model for job in jobs}) == 1:
        return [job.recipe_name for job in jobs]
    return [f"{job.model} by {job.recipe_name}" for job in jobs]


def _join(jobs: Sequence[Job], finished: Sequence[EvidenceComparison]) -> EvidenceComparison:
    if len({job.model for job in jobs}) == 1:
        return reduce(EvidenceComparison.merge, finished)
    # Estimators that occur in two recipes are told apart by the recipes' names.
    recipes = {job.recipe_name: job.recipe for job in jobs}
    counts = Counter(one.name for recipe in recipes.values() for one in recipe.estimators)
    return EvidenceComparison(
        tuple(
            _of_model(row, job, counts)
            for job, comparison in zip(jobs, finished, strict=False)
            for row in comparison
        )
    )


def _of_model(row: EvidenceRow, job: Job, counts: Counter[str]) -> EvidenceRow:
    name = row.evidence.estimator
    if counts[name] > 1:
        name = f"{name} ({job.recipe_name})"
    return EvidenceRow(job.model, replace(row.evidence, estimator=name))


def _guide(run: Run, recipe: Recipe) -> Model | None:
    """The recipe's guide, or the run's fitted one where the recipe's would have to be fitted."""
    if all(isinstance(estimator, LadderEstimator) for estimator in recipe.estimators):
        return None
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
