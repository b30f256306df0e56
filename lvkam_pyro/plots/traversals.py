"""What one latent does to the data while all others stay where they are."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lvkam_pyro.distributions.univariate import UnivariateDensity
from lvkam_pyro.plots.samples import Values, as_array, mosaic
from lvkam_pyro.plots.style import PALETTE, label_edges, legend_above, panels, styled

_MAX_LATENTS = 12
_MAX_CURVES = 4
"""Data of so few outputs are drawn over the latent; of more, over the outputs."""

_ENDS = (0.02, 0.98)
_NUM_STEPS, _NUM_FINE = 9, 60


class TraversedPrior(Protocol):
    """A prior with one-dimensional densities, such as `MixturePrior` or `ProductPrior`."""

    def densities(self) -> UnivariateDensity:
        """The densities, of the batch shape of the latents."""

    def combine(self, z: Tensor) -> Tensor:
        """What the generator is given of the latents."""


class Traversed(Protocol):
    """A model such as `LVKAM`: prior, generator and likelihood."""

    @property
    def prior(self) -> TraversedPrior:
        """The prior."""

    @property
    def generator(self) -> Callable[[Tensor], Tensor]:
        """From latents to parameters of the likelihood."""

    @property
    def likelihood(self) -> Callable[[Tensor], Any]:
        """From parameters to a distribution."""


@styled
def plot_traversals(
    model: Traversed,
    *,
    latents: Sequence[int] | None = None,
    posterior: Tensor | ArrayLike | None = None,
    image_shape: tuple[int, int] | None = None,
    axes: object = None,
) -> NDArray[np.object_]:
    r"""The expected datum while one latent moves along its prior's quantiles.

    .. math:: \mathrm{E}[x \mid z], \qquad z_q = F_q^{-1}(u), \; u = 0.02 \dots 0.98, \qquad
              z_r = F_r^{-1}(1/2) \; (r \ne q)

    Images make one sheet, a row a latent. Data of up to four outputs are drawn over the latent, of
    more as lines over the outputs, from dark (low quantiles) to light (high ones).

    Args:
        model: An `LVKAM`, or what has such a prior, generator and likelihood.
        latents: Indices of the latents, from 0, in the order of the prior's densities, flattened;
            None: those that move the data most, at most 12, the strongest first.
        posterior: Draws of one datum's latents, `(M, *)`: the others stay at their median instead
            of the prior's.
        image_shape: Height and width if each datum is an image.
        axes: One axes for images, else one a latent; None: a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: If draws or image shape do not fit the model, the likelihood has no mean, or the
            axes are too few.
        IndexError: If there is no such latent.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 64), lv.NormalLikelihood(64))
        >>> (axes,) = plot_traversals(model, image_shape=(8, 8))
        >>> axes.get_xlabel()
        "quantile of the latent's prior"
    """
    with torch.no_grad():
        walk = _Walk(model, posterior)
        order = walk.strongest() if latents is None else list(latents)
        if image_shape is not None:
            return _plot_images(walk, order, image_shape, axes)
        return _plot_lines(walk, order, axes)


def can_traverse(model: Traversed) -> bool:
    """Whether `plot_traversals` can draw it: whether its likelihood has a mean.

    Example:
        >>> import lvkam_pyro as lv
        >>> words = lv.CategoricalLikelihood(4, 3)
        >>> can_traverse(lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 12), words))
        False
    """
    with torch.no_grad():
        try:
            _Walk(model, None).data(0, torch.tensor([0.5]))
        except ValueError:
            return False
    return True


class _Walk:
    """The expected datum as a function of one latent."""

    def __init__(self, model: Traversed, posterior: Tensor | ArrayLike | None) -> None:
        self.model = model
        self.densities = model.prior.densities()
        self.shape = self.densities.batch_shape
        middle = self.quantiles(torch.tensor([0.5]))[0]
        self.start = middle if posterior is None else self._median(posterior, middle)

    def quantiles(self, levels: Tensor) -> Tensor:
        """Of all latents, `(L, Q)`."""
        levels = levels.to(self.densities.breakpoints)
        values = self.densities.icdf(levels.view(-1, *[1] * len(self.shape)))
        return values.expand(-1, *self.shape).reshape(len(levels), -1)

    def _median(self, posterior: Tensor | ArrayLike, middle: Tensor) -> Tensor:
        draws = torch.as_tensor(as_array(posterior)).to(middle)
        if draws.shape[1:] != self.shape:
            raise ValueError(
                f"Expected draws of one datum's latents of shape (M, "
                f"{', '.join(map(str, self.shape))}), got {tuple(draws.shape)}. Pass posterior[:, "
                "n] of draws (M, N, ...)."
            )
        return draws.flatten(1).median(0).values

    def data(self, latent: int, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Places of the latent, `(L,)`, and the expected data there, `(L, O)`."""
        places = self.quantiles(levels)[:, latent]
        z = self.start.repeat(len(levels), 1)
        z[:, latent] = places
        law = self.model.likelihood(
            self.model.generator(self.model.prior.combine(z.view(-1, *self.shape)))
        )
        try:
            mean: Tensor = law.mean
        except (AttributeError, NotImplementedError) as error:
            raise ValueError(
                f"Expected a likelihood with a mean, got {type(law).__name__}. Give its "
                "distribution a property `mean`, or draw samples by plot_samples."
            ) from error
        return places, mean.flatten(1)

    def strongest(self) -> list[int]:
        """The latents that move the data most, the strongest first."""
        levels = torch.linspace(*_ENDS, _NUM_STEPS)
        effects = [float(self.data(q, levels)[1].var(0).sum()) for q in range(len(self.start))]
        return [int(index) for index in np.argsort(effects)[::-1][:_MAX_LATENTS]]

    def name(self, latent: int) -> str:
        """Its number, from 0, with that of the component of a product."""
        if len(self.shape) == 1:
            return f"latent {latent}"
        row, inner = divmod(latent, self.shape[1])
        return f"latent {row}, inner {inner}"


def _plot_images(
    walk: _Walk, order: list[int], image_shape: tuple[int, int], axes: object
) -> NDArray[np.object_]:
    levels = torch.linspace(*_ENDS, _NUM_STEPS)
    images = np.concatenate([as_array(walk.data(latent, levels)[1]) for latent in order])
    height, width = image_shape
    if images.shape[1] != height * width:
        raise ValueError(
            f"Expected images of {images.shape[1]} pixels, got image_shape = {image_shape}. Pass "
            "the height and width whose product is the number of outputs."
        )
    size = (0.5 * _NUM_STEPS + 1.2, 0.5 * len(order) * height / width + 0.7)
    (one,) = all_axes = panels(1, axes, num_columns=1, size=size)
    sheet = mosaic(images.reshape(-1, height, width), _NUM_STEPS)
    one.imshow(sheet, cmap="gray_r")
    one.set_yticks(
        (height - 1) / 2 + (height + 1) * np.arange(len(order)), [walk.name(q) for q in order]
    )
    one.set_xticks(
        (width - 1) / 2 + (width + 1) * np.arange(_NUM_STEPS), [f"{u:.2f}" for u in levels.tolist()]
    )
    one.set_xlabel("quantile of the latent's prior")
    one.tick_params(length=0)
    one.spines[:].set_visible(False)
    return all_axes


def _plot_lines(walk: _Walk, order: list[int], axes: object) -> NDArray[np.object_]:
    num_outputs = walk.data(order[0], torch.tensor([0.5]))[1].shape[1]
    is_narrow = num_outputs <= _MAX_CURVES
    all_axes = panels(len(order), axes, size=(2.4, 1.9), share=not is_narrow)
    for one, latent in zip(all_axes, order, strict=True):
        draw = _draw_over_latent if is_narrow else _draw_over_outputs
        draw(one, walk, latent)
        one.set_title(walk.name(latent))
    xlabel, ylabel = ("z", "expected datum") if is_narrow else ("output", "expected datum")
    label_edges(all_axes, own_figure=axes is None, xlabel=xlabel, ylabel=ylabel)
    legend_above(all_axes, own_figure=axes is None)
    return all_axes


def _draw_over_latent(axes: Axes, walk: _Walk, latent: int) -> None:
    places, data = walk.data(latent, torch.linspace(*_ENDS, _NUM_FINE))
    for output, curve in enumerate(as_array(data).T):
        axes.plot(as_array(places), curve, color=PALETTE[output], label=f"output {output}")


def _draw_over_outputs(axes: Axes, walk: _Walk, latent: int) -> None:
    levels = torch.linspace(*_ENDS, _NUM_STEPS)
    data = as_array(walk.data(latent, levels)[1])
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.9, _NUM_STEPS))
    for index, (level, curve) in enumerate(zip(levels.tolist(), data, strict=True)):
        shown = index in (0, _NUM_STEPS // 2, _NUM_STEPS - 1)
        label = f"quantile {level:.2f} of the prior" if shown else None
        axes.plot(_outputs(data), curve, color=colours[index], linewidth=1.0, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _outputs(data: Values) -> NDArray[np.int_]:
    return np.arange(data.shape[1])
