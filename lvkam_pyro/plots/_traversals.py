"""The effect of one latent on the data while all others stay where they are."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from lvkam_pyro.lvkam import LVKAM
from lvkam_pyro.plots._arrays import as_array, centres, check_image_shape, draw_mosaic
from lvkam_pyro.plots._densities import over_batch
from lvkam_pyro.plots.style import (
    PALETTE,
    dark_to_light,
    label_edges,
    legend_above,
    panels,
    styled,
)

_MAX_LATENTS = 12
_MAX_CURVES = 4
"""Data of at most four outputs are drawn over the latent; of more, over the outputs."""

_ENDS = (0.02, 0.98)
_NUM_STEPS, _NUM_FINE = 9, 60


@styled
def traversals(
    model: LVKAM,
    *,
    latents: Sequence[int] | None = None,
    image_shape: tuple[int, int] | None = None,
    axes: object = None,
) -> NDArray[np.object_]:
    r"""The expected datum while one latent moves along its prior's quantiles.

    .. math:: \mathrm{E}[x \mid z], \qquad z_q = F_q^{-1}(u), \; u = 0.02 \dots 0.98, \qquad
              z_r = F_r^{-1}(1/2) \; (r \ne q)

    Images make one sheet, a row a latent. Data of up to four outputs are drawn over the latent, of
    more as lines over the outputs, from dark (low quantiles) to light (high ones).

    Args:
        model: An `LVKAM`.
        latents: Indices of the latents, from 0, in the order of the prior's densities, flattened;
            None: those that move the data most, at most 12, the strongest first.
        image_shape: Height and width if each datum is an image.
        axes: One axes for images, else one a latent; None: a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: If the image shape does not fit the model, the likelihood has no mean, or there
            are too few axes.
        IndexError: If there is no such latent.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 64), lv.NormalLikelihood(64))
        >>> (axes,) = lv.plots.traversals(model, image_shape=(8, 8))
        >>> axes.get_xlabel()
        "quantile of the latent's prior"
    """
    with torch.no_grad():
        traversal = _Traversal(model)
        order = traversal.strongest() if latents is None else list(latents)
        if image_shape is not None:
            return _plot_images(traversal, order, image_shape, axes)
        return _plot_lines(traversal, order, axes)


def can_traverse(model: LVKAM) -> bool:
    """Whether `traversals` can draw it: whether its likelihood has a mean.

    Example:
        >>> import lvkam_pyro as lv
        >>> words = lv.CategoricalLikelihood(4, 3)
        >>> lv.plots.can_traverse(lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 12), words))
        False
    """
    with torch.no_grad():
        try:
            _Traversal(model).data(0, torch.tensor([0.5]))
        except ValueError:
            return False
    return True


class _Traversal:
    """The expected datum as a function of one latent."""

    def __init__(self, model: LVKAM) -> None:
        self.model = model
        self.densities = model.prior.densities()
        self.shape = self.densities.batch_shape
        self.start = self.quantiles(torch.tensor([0.5]))[0]

    def quantiles(self, levels: Tensor) -> Tensor:
        """Of all latents, `(L, Q)`."""
        levels = levels.to(self.densities.breakpoints)
        return over_batch(self.densities.icdf, levels, self.shape).reshape(len(levels), -1)

    def data(self, latent: int, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Values of the latent, `(L,)`, and the expected data there, `(L, O)`."""
        values = self.quantiles(levels)[:, latent]
        z = self.start.repeat(len(levels), 1)
        z[:, latent] = values
        distribution = self.model.likelihood(
            self.model.generator(self.model.prior.combine(z.view(-1, *self.shape)))
        )
        try:
            mean: Tensor = distribution.mean
        except (AttributeError, NotImplementedError) as error:
            raise ValueError(
                f"Expected a likelihood with a mean, got {type(distribution).__name__}. "
                "Give its distribution a property `mean`, or draw data by plots.samples."
            ) from error
        return values, mean.flatten(1)

    def strongest(self) -> list[int]:
        """The latents that move the data most, the strongest first."""
        levels = torch.linspace(*_ENDS, _NUM_STEPS)
        effects = [float(self.data(q, levels)[1].var(0).sum()) for q in range(len(self.start))]
        return [int(index) for index in np.argsort(effects)[::-1][:_MAX_LATENTS]]

    def name(self, latent: int) -> str:
        """Its index, from 0, with that of the component of a product."""
        if len(self.shape) == 1:
            return f"latent {latent}"
        row, inner = divmod(latent, self.shape[1])
        return f"latent {row}, inner {inner}"


def _plot_images(
    traversal: _Traversal, order: list[int], image_shape: tuple[int, int], axes: object
) -> NDArray[np.object_]:
    levels = torch.linspace(*_ENDS, _NUM_STEPS)
    images = np.concatenate([as_array(traversal.data(latent, levels)[1]) for latent in order])
    check_image_shape(image_shape, images.shape[1])
    height, width = image_shape
    size = (0.5 * _NUM_STEPS + 1.2, 0.5 * len(order) * height / width + 0.7)
    (one,) = all_axes = panels(1, axes, size=size)
    draw_mosaic(one, images, image_shape, _NUM_STEPS, cmap="gray_r")
    one.set_yticks(centres(height, len(order)), [traversal.name(q) for q in order])
    one.set_xticks(centres(width, _NUM_STEPS), [f"{level:.2f}" for level in levels.tolist()])
    one.set_xlabel("quantile of the latent's prior")
    return all_axes


def _plot_lines(traversal: _Traversal, order: list[int], axes: object) -> NDArray[np.object_]:
    num_outputs = traversal.data(order[0], torch.tensor([0.5]))[1].shape[1]
    is_narrow = num_outputs <= _MAX_CURVES
    all_axes = panels(len(order), axes, size=(2.4, 1.9), share=not is_narrow)
    xlabel, draw = ("z", _draw_over_latent) if is_narrow else ("output", _draw_over_outputs)
    for one, latent in zip(all_axes, order, strict=True):
        draw(one, traversal, latent)
        one.set_title(traversal.name(latent))
    label_edges(all_axes, own_figure=axes is None, xlabel=xlabel, ylabel="expected datum")
    legend_above(all_axes, own_figure=axes is None)
    return all_axes


def _draw_over_latent(axes: Axes, traversal: _Traversal, latent: int) -> None:
    values, data = traversal.data(latent, torch.linspace(*_ENDS, _NUM_FINE))
    for output, curve in enumerate(as_array(data).T):
        axes.plot(as_array(values), curve, color=PALETTE[output], label=f"output {output}")


def _draw_over_outputs(axes: Axes, traversal: _Traversal, latent: int) -> None:
    levels = torch.linspace(*_ENDS, _NUM_STEPS)
    data = as_array(traversal.data(latent, levels)[1])
    colours = dark_to_light(_NUM_STEPS)
    for index, (level, curve) in enumerate(zip(levels.tolist(), data, strict=True)):
        shown = index in (0, _NUM_STEPS // 2, _NUM_STEPS - 1)
        label = f"quantile {level:.2f} of the prior" if shown else None
        axes.plot(curve, color=colours[index], linewidth=1.0, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
