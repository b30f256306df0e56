"""`lvkam compare` and `lvkam evidence`: the held-out evidence of runs, by several estimators."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from lvkam_pyro.commands.evidence_runs import (
    estimate_jobs,
    keep_comparison,
    keep_nothing,
    make_jobs,
)
from lvkam_pyro.commands.parsers import assign
from lvkam_pyro.commands.pictures import save_hardest
from lvkam_pyro.commands.setup import Run, check_num_data, load_run, shared_data
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.programs import Program, load_program
from lvkam_pyro.training.recipe import Recipe
from lvkam_pyro.training.runs.run_folder import RunFolder

_NUM_NAMED = 5


def compare_command(
    models: Sequence[str],
    *,
    run: Path | None = None,
    inference: Sequence[str] = ("amortized", "thermodynamic", "elbo"),
    assignments: Sequence[str] = (),
    num_data: int | None = None,
    out: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> str:
    """Estimates the evidence of runs' held-out data by the estimators of several recipes.

    The models are the runs', and so are the guides (with their widths) wherever a recipe's guide
    has parameters; ladders use none.

    Args:
        models: Models, whose runs are in `runs/NAME`, or run folders.
        run: Another run folder of the one model.
        inference: Recipes, of which only the guides and the estimators are used.
        assignments: Options `key=value` of these recipes.
        num_data: Use the first of the held-out data only.
        out: The folder of the results; None: the run folder of the one model, and no file for
            several.
        seed: Of the estimators.
        device: Where to compute, as torch names it: `cpu`, `cuda`.

    Returns:
        The table, which `evidence.csv`, `evidence.json` and `evidence.tex` hold too, and Bayes
        factors of several models; of one, its hardest data. Pictures are in `plots/evidence.png`,
        of a ladder's curve in `plots/thermodynamic.png`, and of the hardest data in
        `plots/hardest.png`.

    Raises:
        ValueError: If a recipe or an option is unknown, the run is of another model, the models
            have different held-out data, or a recipe needs a guide that a run has not.

    Example:
        lvkam compare digits
        lvkam compare digits --inference importance thermodynamic --num-data 20
        lvkam compare digits --run runs/other --set thermodynamic.num_chains=4
        lvkam compare runs/four runs/eight --inference importance thermodynamic --out compared
    """
    check_num_data(num_data)
    _check_models(models, run)
    programs = {name: load_program("inference", name) for name in inference}
    given = assign(assignments, programs)
    recipes = {name: program.build(given[name]) for name, program in programs.items()}
    if run is None:
        runs = {model: load_run(model, device=device) for model in models}
    else:
        runs = {models[0]: load_run(run, device=device)}
        _check_model(runs[models[0]], models[0])
    return _report(runs, recipes, num_data, seed, out)


def evidence_command(
    run: str, *, num_data: int | None = None, seed: int = 0, device: str = "cpu"
) -> str:
    """Estimates the evidence of a run's held-out data by the estimators of its own recipe.

    Args:
        run: A run folder, or the name of a model whose folder is `runs/NAME`.
        num_data: Use the first of the held-out data only.
        seed: Of the estimators.
        device: Where to compute, as torch names it: `cpu`, `cuda`.

    Returns:
        The table, which the run folder holds too, as for `compare_command`.

    Raises:
        ValueError: If the run cannot be rebuilt.

    Example:
        lvkam evidence runs/digits
        lvkam evidence digits --num-data 20 --seed 1
    """
    check_num_data(num_data)
    found = load_run(run, device=device)
    return _report({run: found}, {found.fit.recipe.name: found.fit.recipe}, num_data, seed)


def _report(
    runs: Mapping[str, Run],
    recipes: Mapping[str, Recipe],
    num_data: int | None,
    seed: int,
    out: Path | None = None,
) -> str:
    x = shared_data(runs, num_data)
    only = next(iter(runs.values())).folder if len(runs) == 1 else None
    folder = only if out is None else RunFolder(out)
    keep = keep_nothing if folder is None else partial(keep_comparison, folder)
    comparison = estimate_jobs(make_jobs(runs, recipes), x, seed, keep)
    names = ", ".join(run.setup.model.name for run in runs.values())
    hardest = _hardest(comparison, next(iter(runs.values())), x, folder) if len(runs) == 1 else []
    head = f"log evidence of {len(x)} held-out data of {names}, in nats per datum"
    return "\n".join(
        [head, comparison.table(), *hardest, *_bayes_factors(comparison, runs), *_exact(runs, x)]
    )


def _hardest(
    comparison: EvidenceComparison, run: Run, x: Tensor, folder: RunFolder | None
) -> list[str]:
    """Which data the model explains least, by the first estimate, and a picture of them."""
    evidence = next((row.evidence for row in comparison if not row.is_lower_bound), None)
    if evidence is None or evidence.num_data != len(x) or len(x) < 2 * _NUM_NAMED:
        return []
    lowest = evidence.log_evidence.argsort()[:_NUM_NAMED].tolist()
    named = ", ".join(f"{index} ({float(evidence.log_evidence[index]):.1f})" for index in lowest)
    where = ""
    if folder is not None and x.ndim == 2:
        save_hardest(folder, run.setup, evidence, x)
        where = f"; {folder.picture('hardest')} shows more"
    return ["", f"hardest data, with their nats by {evidence.estimator}: {named}{where}."]


def _bayes_factors(comparison: EvidenceComparison, runs: Mapping[str, Run]) -> list[str]:
    """The Bayes factors of several models, unless all results are bounds."""
    if len(runs) == 1 or all(row.is_lower_bound for row in comparison):
        return []
    return ["", str(comparison.bayes_factors())]


def _exact(runs: Mapping[str, Run], x: Tensor) -> list[str]:
    """The exact evidence, where a model program knows it."""
    lines = []
    for name, run in runs.items():
        exact = getattr(run.setup.model.module, "exact_log_evidence", None)
        if exact is not None:
            label = "exact" if len(runs) == 1 else f"exact, {name}"
            lines.append(f"{label}: {float(exact(run.fit.model, x).mean()):.4f}")
    return lines


def _check_models(models: Sequence[str], run: Path | None) -> None:
    if len(set(models)) < len(models):
        raise ValueError(f"Expected different models, but got {' '.join(models)}. Name each once.")
    if run is not None and len(models) > 1:
        raise ValueError(
            f"--run names the folder of one model, but {len(models)} are given. Name folders in "
            "place of the models, e.g. lvkam compare runs/a runs/b."
        )


def _check_model(run: Run, model: str) -> None:
    program: Program = load_program("model", model)
    if program.path != run.setup.model.path:
        raise ValueError(
            f"{run.folder.path} is a run of {run.setup.model.reference}, not of {model}. Name its "
            "own model, or another folder by --run."
        )
