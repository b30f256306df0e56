"""The pictures of a run: what the model draws, its densities, functions, loss and evidence."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from lvkam_pyro import plots
from lvkam_pyro.commands.setup import Setup
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.lvkam import LVKAM
from lvkam_pyro.modules.generators import KANGenerator
from lvkam_pyro.plots.style import render
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind, bind_guide
from lvkam_pyro.training.batches import evenly_spaced
from lvkam_pyro.training.loop import Fit
from lvkam_pyro.training.runs.files import write_atomically
from lvkam_pyro.training.runs.run_folder import RunFolder

_NUM_HARDEST = 36
_NUM_POSTERIORS = 400
_NUM_PARTICLES = 512
_NUM_DRAWS = 64
_BATCH_SIZE = 32
"""Posteriors behind the densities: of so many data, so many draws of so many particles each, for
as many data at a time as take less memory than training."""


def draw_data(model: Program, x: Tensor, *, seed: int = 0) -> Tensor:
    """Draws new data from the model.

    Args:
        model: Any Pyro model of one tensor.
        x: Data of the shape (N, ...) to draw; their values do not matter.
        seed: Of the draws.

    Returns:
        The model's data site, of the shape of x.

    Raises:
        ValueError: If no observed site has that shape.

    Example:
        >>> import torch
        >>> from lvkam_pyro.programs import load_program
        >>> model = load_program("model", "linear_gaussian").build({})
        >>> draw_data(model, torch.zeros(7, 5)).shape
        torch.Size([7, 5])
    """
    program = bind(model, x)
    with program.session(seed=seed):
        sites = program.simulate().sites
    latents = {site.name for site in program.structure.latents}
    observed = {name: site["value"] for name, site in sites.items() if name not in latents}
    for value in observed.values():
        if isinstance(value, Tensor) and value.numel() == x.numel() and value.shape[1:] == x.shape:
            return value[0]
    raise ValueError(
        f"None of the model's observed sites ({', '.join(observed)}) draws data like x."
    )


def save_pictures(folder: RunFolder, setup: Setup, fit: Fit, x: Tensor) -> None:
    """Writes `plots/*.png` of a fit.

    `samples.png` and `loss.png` are made of any model; `densities.png`, with the posterior of the
    data behind, `functions.png` and `traversals.png` of an LVKAM.

    Args:
        folder: The run folder.
        setup: Its programs; a model program may say `IMAGE_SHAPE = (height, width)`.
        fit: The fitted model and guide.
        x: Data to show beside the samples; of very many, evenly spaced ones.
    """
    x = evenly_spaced(x)
    image_shape = image_shape_of(setup, x)
    samples = draw_data(fit.model, x, seed=setup.seed)
    save(plots.samples(x, samples, image_shape=image_shape), folder.picture("samples"))
    save(plots.loss(fit.metrics), folder.picture("loss"))
    if isinstance(fit.model, LVKAM):
        posterior = _draw_posterior(fit, x, setup.seed)
        _save_functions(folder, fit.model, posterior, image_shape)


def image_shape_of(setup: Setup, x: Tensor) -> tuple[int, int] | None:
    """Height and width of a datum, if the model program says it and the data agree."""
    shape: tuple[int, int] | None = getattr(setup.model.module, "IMAGE_SHAPE", None)
    fits = shape is not None and x.dim() == 2 and shape[0] * shape[1] == x.shape[1]
    return shape if fits else None


def save_evidence_pictures(folder: RunFolder, comparison: EvidenceComparison) -> None:
    """Writes `plots/evidence.png`, and `plots/thermodynamic.png` if an estimator climbed a ladder.

    Args:
        folder: The run folder.
        comparison: The estimates.
    """
    save(plots.evidence(comparison), folder.picture("evidence"))
    curves = [row.evidence for row in comparison if plots.has_curve(row.evidence)]
    if curves:
        save(plots.thermodynamic_curve(curves[0]), folder.picture("thermodynamic"))


def save_hardest(folder: RunFolder, setup: Setup, evidence: Evidence, x: Tensor) -> None:
    """Writes `plots/hardest.png`: the data of the lowest evidence beside those of the highest.

    Args:
        folder: The run folder.
        setup: Its programs.
        evidence: Of each datum.
        x: The data.
    """
    order = evidence.log_evidence.argsort()[: len(x)]
    count = min(_NUM_HARDEST, len(x) // 2)
    axes = plots.samples(
        x[order[:count]],
        x[order.flip(0)[:count]],
        image_shape=image_shape_of(setup, x),
        titles=("lowest log evidence", "highest log evidence"),
    )
    save(axes, folder.picture("hardest"))


def save(axes: Axes | NDArray[np.object_], path: str | Path) -> None:
    """Writes the figure that the axes belong to, and closes it.

    Args:
        axes: The axes that a plot returned.
        path: File to write; its ending (`.png`, `.pdf`, `.svg`) is the format.

    Raises:
        OSError: If it cannot be written; what the file held before is intact.
    """
    path = Path(path)
    write_atomically(path, render(axes, file_format=path.suffix[1:] or "png"))


def _save_functions(
    folder: RunFolder, model: LVKAM, posterior: Tensor, image_shape: tuple[int, int] | None
) -> None:
    save(plots.prior_densities(model.prior, posterior=posterior), folder.picture("densities"))
    if plots.can_traverse(model):
        save(plots.traversals(model, image_shape=image_shape), folder.picture("traversals"))
    if isinstance(model.generator, KANGenerator):
        # Behind hidden layers the first layer's outputs are no pixels.
        shape = image_shape if len(model.generator.layers) == 1 else None
        axes = plots.functions(model.generator, prior=model.prior, image_shape=shape)
        save(axes, folder.picture("functions"))


def _draw_posterior(fit: Fit, x: Tensor, seed: int) -> Tensor:
    """Equally weighted draws of an LVKAM's latents `(D, N, ...)`, of some of the data."""
    draws: list[Tensor] = []
    program = bind_guide(bind(fit.model, x[:_NUM_POSTERIORS]), fit.guide)
    with program.session(fit.guide, seed=seed):
        for block in program.blocks(program.values_per_unit * _NUM_PARTICLES):
            draws.extend(block.draw(fit.guide, _NUM_PARTICLES).resample(_NUM_DRAWS).values())
    return torch.cat(draws, 1)
