"""The pictures of a run: what the model draws, its densities, functions, loss and evidence."""

import torch
from torch import Tensor

from lvkam_pyro.commands.picture_files import save
from lvkam_pyro.commands.setup import Setup
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.lvkam import LVKAM
from lvkam_pyro.modules.generators import KANGenerator
from lvkam_pyro.plots.densities import plot_prior_densities
from lvkam_pyro.plots.functions import plot_functions
from lvkam_pyro.plots.loss import plot_loss
from lvkam_pyro.plots.samples import plot_samples
from lvkam_pyro.plots.thermodynamic import has_curve, plot_thermodynamic_curve
from lvkam_pyro.plots.traversals import can_traverse, plot_traversals
from lvkam_pyro.tracing.particles import draw_particles
from lvkam_pyro.tracing.seeding import seeded_rng
from lvkam_pyro.tracing.structure import record_once
from lvkam_pyro.tracing.unconditioned import Unconditioned
from lvkam_pyro.training.large_data import evenly_spaced
from lvkam_pyro.training.loop import Fit
from lvkam_pyro.training.recipe import Model
from lvkam_pyro.training.runs.run_folder import RunFolder

_NUM_POSTERIORS = 400
_NUM_PARTICLES = 512
_NUM_DRAWS = 64
_BATCH_SIZE = 32
"""Posteriors behind the densities: of so many data, so many draws of so many particles each, for
as many data at a time as take less memory than training."""


def draw_data(model: Model, x: Tensor, *, seed: int = 0) -> Tensor:
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
    with seeded_rng(seed, x):
        observed = record_once(model, x).observations
        sites = record_once(Unconditioned()(model), x).sites
    for name in observed:
        value = sites[name]["value"] if name in sites else None
        if isinstance(value, Tensor) and value.shape == x.shape:
            return value
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
        fit: What was fitted.
        x: Data to show beside the samples; of very many, evenly spaced ones.
    """
    x = evenly_spaced(x)
    image_shape = image_shape_of(setup, x)
    samples = draw_data(fit.model, x, seed=setup.seed)
    save(plot_samples(x, samples, image_shape=image_shape), folder.picture("samples"))
    save(plot_loss(fit.metrics), folder.picture("loss"))
    if isinstance(fit.model, LVKAM):
        posterior = _draw_posterior(fit, x, setup.seed)
        _save_functions(folder, fit.model, posterior, image_shape)


def image_shape_of(setup: Setup, x: Tensor) -> tuple[int, int] | None:
    """Height and width of a datum, if the model program says it and the data agree."""
    shape: tuple[int, int] | None = getattr(setup.model.module, "IMAGE_SHAPE", None)
    fits = shape is not None and x.dim() == 2 and shape[0] * shape[1] == x.shape[1]
    return shape if fits else None


def save_thermodynamic_curve(folder: RunFolder, comparison: EvidenceComparison) -> None:
    """Writes `plots/thermodynamic.png` if one of the estimators climbed a ladder."""
    curves = [row.evidence for row in comparison if has_curve(row.evidence)]
    if curves:
        save(plot_thermodynamic_curve(curves[0]), folder.picture("thermodynamic"))


def _save_functions(
    folder: RunFolder, model: LVKAM, posterior: Tensor, image_shape: tuple[int, int] | None
) -> None:
    save(plot_prior_densities(model.prior, posterior=posterior), folder.picture("densities"))
    if can_traverse(model):
        save(plot_traversals(model, image_shape=image_shape), folder.picture("traversals"))
    if isinstance(model.generator, KANGenerator):
        # Behind hidden layers the first layer's outputs are no pixels.
        shape = image_shape if len(model.generator.layers) == 1 else None
        axes = plot_functions(model.generator, prior=model.prior, image_shape=shape)
        save(axes, folder.picture("functions"))


def _draw_posterior(fit: Fit, x: Tensor, seed: int) -> Tensor:
    """Equally weighted draws of an LVKAM's latents `(D, N, ...)`, of some of the data."""
    draws: list[Tensor] = []
    with torch.no_grad(), seeded_rng(seed, x):
        for batch in x[:_NUM_POSTERIORS].split(_BATCH_SIZE):
            particles = draw_particles(fit.model, fit.guide, batch, _NUM_PARTICLES)
            draws.extend(particles.resample(_NUM_DRAWS).values())
    return torch.cat(draws, 1)
