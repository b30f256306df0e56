"""`lvkam compare` and `lvkam evidence`: the held-out evidence of a run, by several estimators."""

import sys
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path

from torch import Tensor, nn

from lvkam_pyro.commands.assignments import assign
from lvkam_pyro.commands.interrupts import Interrupted, remembered_interrupts
from lvkam_pyro.commands.pictures import save_thermodynamic_curve
from lvkam_pyro.commands.setup import Run, load_run
from lvkam_pyro.evidence.compare import compare_evidence
from lvkam_pyro.evidence.comparison import EvidenceComparison
from lvkam_pyro.evidence.ladder import LadderEstimator
from lvkam_pyro.guides.seeding import seeded_rng
from lvkam_pyro.guides.validation import check_count
from lvkam_pyro.programs import Program, load_program
from lvkam_pyro.training.files import replace_file
from lvkam_pyro.training.recipe import Model, Recipe


def compare_command(
    model: str,
    *,
    run: Path | None = None,
    inference: Sequence[str] = ("amortized", "thermodynamic", "elbo"),
    assignments: Sequence[str] = (),
    num_data: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> str:
    """Estimates the evidence of a run's held-out data by the estimators of several recipes.

    The model is the run's, and so is the guide (with its widths) wherever a recipe's guide has
    parameters; ladders use none.

    Args:
        model: The model's name, whose run is in `runs/NAME`.
        run: Another run folder.
        inference: Recipes, of which only the guides and the estimators are used.
        assignments: Options `key=value` of these recipes.
        num_data: Use the first of the held-out data only.
        seed: Of the estimators.
        device: Where to compute.

    Returns:
        The table, which `evidence.csv` and `evidence.json` in the run folder hold too; a ladder's
        curve is in `plots/thermodynamic.png`.

    Raises:
        ValueError: If a recipe or an option is unknown, the run is of another model, or a recipe
            needs a guide that the run has not.
    """
    check_num_data(num_data)
    programs = {name: load_program("inference", name) for name in inference}
    given = assign(assignments, programs)
    recipes = {name: program.build(given[name]) for name, program in programs.items()}
    found = load_run(model if run is None else run, device=device)
    _check_model(found, model)
    return _report(found, recipes, num_data, seed)


def evidence_command(
    run: str, *, num_data: int | None = None, seed: int = 0, device: str = "cpu"
) -> str:
    """Estimates the evidence of a run's held-out data by the estimators of its own recipe.

    Args:
        run: A run folder, or the name of a model whose folder is `runs/NAME`.
        num_data: Use the first of the held-out data only.
        seed: Of the estimators.
        device: Where to compute.

    Returns:
        The table, which `evidence.csv` and `evidence.json` in the run folder hold too; a ladder's
        curve is in `plots/thermodynamic.png`.

    Raises:
        ValueError: If the run cannot be rebuilt.
    """
    check_num_data(num_data)
    found = load_run(run, device=device)
    return _report(found, {found.fit.recipe.name: found.fit.recipe}, num_data, seed)


def check_num_data(num_data: int | None) -> None:
    """Raises ValueError unless there is a datum to use."""
    if num_data is not None:
        check_count("--num-data", num_data)


def held_out(run: Run, num_data: int | None) -> Tensor:
    """The first of the run's held-out data, or all."""
    return run.x_test if num_data is None else run.x_test[:num_data]


def _report(run: Run, recipes: Mapping[str, Recipe], num_data: int | None, seed: int) -> str:
    x = held_out(run, num_data)
    comparison = _compare(run, recipes, x, seed)
    head = f"log evidence of {len(x)} held-out data of {run.setup.model.name}, in nats per datum"
    return "\n".join([head, comparison.table(), *_exact(run, x)])


def _compare(run: Run, recipes: Mapping[str, Recipe], x: Tensor, seed: int) -> EvidenceComparison:
    """A row an estimator, under the name of its recipe; kept recipe by recipe."""
    # All guides first: one that was not fitted is refused before an estimator has run for minutes.
    guides = {name: _guide(run, recipe) for name, recipe in recipes.items()}
    finished: list[EvidenceComparison] = []
    with remembered_interrupts() as interrupts:
        try:
            for name, recipe in recipes.items():
                finished.append(_estimate(run, name, recipe, guides[name], x, seed))
                _keep(run, reduce(EvidenceComparison.merge, finished))
                if interrupts:
                    raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            raise Interrupted(_what_is_kept(run, list(recipes)[: len(finished)])) from interrupt
    return reduce(EvidenceComparison.merge, finished)


def _estimate(
    run: Run, name: str, recipe: Recipe, guide: Model | None, x: Tensor, seed: int
) -> EvidenceComparison:
    return compare_evidence(
        {name: run.fit.model},
        x,
        recipe.estimators,
        guide=guide,
        seed=seed,
        progress=sys.stderr.isatty(),
    )


def _keep(run: Run, comparison: EvidenceComparison) -> None:
    replace_file(run.folder.evidence(".csv"), comparison.to_csv)
    replace_file(run.folder.evidence(".json"), comparison.to_json)
    save_thermodynamic_curve(run.folder, comparison)


def _what_is_kept(run: Run, finished: Sequence[str]) -> str:
    if not finished:
        return "No estimator had finished."
    return f"Kept in {run.folder.evidence('.csv')}: {', '.join(finished)}."


def _guide(run: Run, recipe: Recipe) -> Model | None:
    """The recipe's guide, or the run's fitted one where the recipe's would have to be fitted."""
    if all(isinstance(estimator, LadderEstimator) for estimator in recipe.estimators):
        return None
    with seeded_rng(0, run.x):
        guide = recipe.build_guide(run.fit.model, run.x)
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


def _exact(run: Run, x: Tensor) -> list[str]:
    """The exact evidence, where the model program knows it."""
    exact = getattr(run.setup.model.module, "exact_log_evidence", None)
    return [] if exact is None else [f"exact: {float(exact(run.fit.model, x).mean()):.4f}"]


def _check_model(run: Run, model: str) -> None:
    program: Program = load_program("model", model)
    if program.path != run.setup.model.path:
        raise ValueError(
            f"{run.folder.path} is a run of {run.setup.model.reference}, not of {model}. Name its "
            "own model, or another folder by --run."
        )
