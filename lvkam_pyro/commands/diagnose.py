"""`lvkam diagnose`: the posterior for ArviZ, pictures, a report, and what is wrong."""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

from arviz import summary

from lvkam_pyro.arviz.convert import to_arviz
from lvkam_pyro.arviz.weights import UnreliablePosteriorWarning
from lvkam_pyro.checks.convergence_check import EvidenceCheck
from lvkam_pyro.commands.pictures import save_pictures
from lvkam_pyro.commands.setup import check_num_data, held_out, load_run
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.report.model_report import diagnose
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.training.runs.files import write_atomically


def diagnose_command(
    run: str, *, num_data: int | None = 20, seed: int = 0, device: str = "cpu"
) -> str:
    """Draws the posterior of a run's held-out data, and looks at how good model and guide are.

    Writes `posterior.nc`, for `arviz.from_netcdf`, `report.html` and `plots/*.png`.

    Args:
        run: A run folder, or the name of a model whose folder is `runs/NAME`.
        num_data: The first of the held-out data; None: all.
        seed: Of the draws.
        device: Where to compute, as torch names it: `cpu`, `cuda`.

    Returns:
        A summary of the posterior of the first datum, the diagnosis and the verdict, for the
        terminal.

    Raises:
        ValueError: If the run cannot be rebuilt.

    Example:
        lvkam diagnose runs/digits --num-data 5
    """
    check_num_data(num_data)
    found = load_run(run, device=device)
    model, guide, x = found.fit.model, found.fit.guide, held_out(found, num_data)
    diagnosis = diagnose(model, x, guide=guide, seed=seed)
    (row,) = diagnosis[EvidenceCheck].comparison
    with warnings.catch_warnings():
        # The diagnosis says it, with numbers.
        warnings.simplefilter("ignore", UnreliablePosteriorWarning)
        posterior = to_arviz(model, x, guide=guide, evidence=row.evidence, seed=seed)
    with TemporaryDirectory() as elsewhere:
        # HDF5 crashes the process when its disk is full: it writes elsewhere, and we copy.
        path = Path(elsewhere) / "posterior.nc"
        posterior.to_netcdf(str(path))
        write_atomically(found.folder.posterior, path.read_bytes())
    diagnosis.to_html(found.folder.report)
    save_pictures(found.folder, found.setup, found.fit, found.x_test)
    first = posterior.isel(**{bind(model, x).structure.data_plate: 0})
    return "\n".join(
        [
            f"posterior of the first of {len(x)} held-out data",
            summary(first).to_string(),
            "",
            str(diagnosis),
            "",
            *judgement(found.fit.recipe.name, row.evidence),
            f"report: {found.folder.report}",
        ]
    )


def judgement(recipe: str, evidence: Evidence) -> list[str]:
    """How well a guide covers the posterior, and what to do where it does not.

    Args:
        recipe: The recipe whose guide it is.
        evidence: An importance estimate with that guide.

    Returns:
        Lines for the terminal; the last ones are the verdict.
    """
    k, size = evidence.diagnostics["pareto_k"], evidence.diagnostics["ess"]
    verdict = evidence.verdict
    return [
        f"guide of {recipe}, {evidence.num_likelihood_evaluations} particles a datum:",
        f"  Pareto k: median {float(k.median()):.2f}, largest {float(k.max()):.2f}",
        f"  effective size: median {float(size.median()):.0f}, least {float(size.min()):.0f}",
        "verdict: reliable" if verdict.reliable else "verdict: unreliable",
        *(f"  {line}" for line in [*verdict.reasons, verdict.remedy] if line),
    ]
