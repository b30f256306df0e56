"""`lvkam diagnose`: the posterior for ArviZ, pictures, and what is wrong."""

import torch
from arviz import summary
from torch import Tensor

from lvkam_pyro.commands.compare import held_out
from lvkam_pyro.commands.pictures import save_pictures
from lvkam_pyro.commands.setup import Run, load_run
from lvkam_pyro.diagnostics.arviz import to_arviz
from lvkam_pyro.guides.particles import draw_particles
from lvkam_pyro.guides.seeding import seeded_rng
from lvkam_pyro.guides.weights import effective_sample_size, pareto_k
from lvkam_pyro.training.files import replace_file

_NUM_PARTICLES = 4096
_MAX_PARETO_K = 0.7
_MIN_EFFECTIVE_SAMPLE_SIZE = 100


def diagnose_command(
    run: str, *, num_data: int | None = 20, seed: int = 0, device: str = "cpu"
) -> str:
    """Draws the posterior of a run's held-out data, and looks at how good its guide is.

    Writes `posterior.nc`, for `arviz.from_netcdf`, and `plots/*.png`.

    Args:
        run: A run folder, or the name of a model whose folder is `runs/NAME`.
        num_data: The first of the held-out data; None: all.
        seed: Of the draws.
        device: Where to compute.

    Returns:
        A summary of the posterior of the first datum and the verdict, for the terminal.

    Raises:
        ValueError: If the run cannot be rebuilt.
    """
    found = load_run(run, device=device)
    x = held_out(found, num_data)
    posterior = to_arviz(found.fit.model, x, guide=found.fit.guide, seed=seed)
    replace_file(found.folder.posterior, lambda path: posterior.to_netcdf(str(path)))
    save_pictures(found.folder, found.setup, found.fit, found.x_test)
    table = summary(posterior.isel(data=0)).to_string()
    verdict = judge_guide(found, x, seed=seed)
    return "\n".join([f"posterior of the first of {len(x)} held-out data", table, "", *verdict])


def judge_guide(run: Run, x: Tensor, *, seed: int) -> list[str]:
    """How well the run's guide covers the posterior, and what to do where it does not.

    Args:
        run: The run.
        x: Data (N, ...).
        seed: Of the particles.

    Returns:
        Lines for the terminal; the last is the verdict.
    """
    with seeded_rng(seed, x), torch.no_grad():
        particles = draw_particles(run.fit.model, run.fit.guide, x, _NUM_PARTICLES)
    k, size = pareto_k(particles.log_weights), effective_sample_size(particles.log_weights)
    missed = (k > _MAX_PARETO_K) | (size < _MIN_EFFECTIVE_SAMPLE_SIZE)
    return [
        f"guide of {run.fit.recipe.name}, {_NUM_PARTICLES} particles a datum:",
        f"  Pareto k: median {float(k.median()):.2f}, largest {float(k.max()):.2f}",
        f"  effective size: median {float(size.median()):.0f}, least {float(size.min()):.0f}",
        _verdict(int(missed.sum()), len(x)),
    ]


def _verdict(num_missed: int, num_data: int) -> str:
    if num_missed == 0:
        return "verdict: the guide covers the posterior of all data"
    return (
        f"verdict: the guide misses the posterior of {num_missed} of {num_data} data (Pareto k "
        f"above {_MAX_PARETO_K} or effective sample size below {_MIN_EFFECTIVE_SAMPLE_SIZE}). Use "
        "the ladder, `lvkam compare --inference thermodynamic`, or train longer with more particles"
    )
